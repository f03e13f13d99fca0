"""Protobuf files of the served services, looked up by file name and by symbol."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from server.errors import NotFound
from server.rpc.services.typed_descriptor import default_json_name


class Files:
    """Set of protobuf files, with lookups cached after their first use."""

    def __init__(self, files: Sequence[FileDescriptorProto]) -> None:
        """Hold `files`; every imported file must be among them."""
        self._by_name = {file.name: file for file in files}

    @cached_property
    def services(self) -> list[str]:
        """Full names of all services, sorted."""
        files = self._by_name.values()
        return sorted({f"{file.package}.{service.name}" for file in files for service in file.service})

    def serialized_with_imports(self, name: str) -> list[bytes]:
        """Return a file and all its imports, each serialized. Raises NotFound."""
        if name not in self._by_name:
            raise NotFound(f"there is no {name[:128]!r}")
        required_names = [name]
        for each in required_names:
            required_names.extend(other for other in self._by_name[each].dependency if other not in required_names)
        return [self._binary[each] for each in required_names]

    def file_declaring(self, symbol: str) -> str:
        """Return the name of the file that declares `symbol`. Raises NotFound.

        A symbol is the full name of a service, method, message, field or enum.
        """
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
    """Return the full names of all symbols that a file declares."""
    names = set()
    for service in file.service:
        full_name = f"{file.package}.{service.name}"
        names |= {full_name, *(f"{full_name}.{method.name}" for method in service.method)}
    for message in file.message_type:
        names |= _nested_symbols(message, file.package)
    return names | {f"{file.package}.{each.name}" for each in file.enum_type}


def _nested_symbols(message: DescriptorProto, scope: str) -> set[str]:
    full_name = f"{scope}.{message.name}"
    names = {full_name, *(f"{full_name}.{field.name}" for field in message.field)}
    names |= {f"{full_name}.{each.name}" for each in message.enum_type}
    for nested in message.nested_type:
        names |= _nested_symbols(nested, full_name)
    return names


def proto_of(descriptors: Iterable[Any]) -> list[FileDescriptorProto]:
    """Return the files of generated modules and their imports."""
    files: dict[str, FileDescriptorProto] = {}
    for each in descriptors:
        for file in (*each.dependencies, each):
            copy = FileDescriptorProto()
            file.CopyToProto(copy)
            for message in copy.message_type:
                _set_json_names(message)
            files[copy.name] = copy
    return [*files.values()]


def _set_json_names(message: DescriptorProto) -> None:
    """Set the JSON names of all fields; generated modules omit them."""
    for field in message.field:
        field.json_name = default_json_name(field.name)
    for nested in message.nested_type:
        _set_json_names(nested)
