"""The files that declare what is served, found by their names and by what they declare."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from server.errors import NotFound
from server.rpc.typed_file import default_json_name


class Files:
    """Some files; what is asked of them often is worked out once."""

    def __init__(self, files: Sequence[FileDescriptorProto]) -> None:
        """Hold `files`, each with all that it imports among them."""
        self._by_name = {file.name: file for file in files}

    @cached_property
    def services(self) -> list[str]:
        """The full names of all services, in their order."""
        files = self._by_name.values()
        return sorted({f"{file.package}.{service.name}" for file in files for service in file.service})

    def named(self, name: str) -> list[bytes]:
        """Return the file of this name and all that it imports, each in binary. Raises NotFound."""
        if name not in self._by_name:
            raise NotFound(f"there is no {name[:128]!r}")
        wanted = [name]
        for each in wanted:
            wanted.extend(other for other in self._by_name[each].dependency if other not in wanted)
        return [self._binary[each] for each in wanted]

    def declaring(self, symbol: str) -> str:
        """Return the name of the file that declares a service, method, message, field or enum. Raises NotFound."""
        try:
            return self._symbols[symbol]
        except KeyError:
            raise NotFound(f"there is no {symbol[:128]!r}") from None

    @cached_property
    def _binary(self) -> Mapping[str, bytes]:
        return {name: file.SerializeToString() for name, file in self._by_name.items()}

    @cached_property
    def _symbols(self) -> Mapping[str, str]:
        return {symbol: name for name, file in self._by_name.items() for symbol in _symbols(file)}


def _symbols(file: FileDescriptorProto) -> set[str]:
    """Return the full names of all that a file declares."""
    names = set()
    for service in file.service:
        full = f"{file.package}.{service.name}"
        names |= {full, *(f"{full}.{method.name}" for method in service.method)}
    for message in file.message_type:
        names |= _within(message, file.package)
    return names | {f"{file.package}.{each.name}" for each in file.enum_type}


def _within(message: DescriptorProto, where: str) -> set[str]:
    full = f"{where}.{message.name}"
    names = {full, *(f"{full}.{field.name}" for field in message.field)}
    names |= {f"{full}.{each.name}" for each in message.enum_type}
    for nested in message.nested_type:
        names |= _within(nested, full)
    return names


def proto_of(described: Iterable[Any]) -> list[FileDescriptorProto]:
    """Return files, and what they import, from the descriptors of generated modules."""
    found: dict[str, FileDescriptorProto] = {}
    for each in described:
        for file in (*each.dependencies, each):
            copied = FileDescriptorProto()
            file.CopyToProto(copied)
            for message in copied.message_type:
                _name_in_json(message)
            found[copied.name] = copied
    return [*found.values()]


def _name_in_json(message: DescriptorProto) -> None:
    """Give the fields their names in JSON, which generated modules leave out."""
    for field in message.field:
        field.json_name = default_json_name(field.name)
    for nested in message.nested_type:
        _name_in_json(nested)
