"""Our contract of a public service against a public client's own: prints where they differ, as JSON.

Run in the client's environment by tests/clients/test_contract.py:  contract.py MODULE... < FileDescriptorProto
What only the client declares is no difference: a contract may have less, but nothing else.
"""

import importlib
import json
import sys
from collections.abc import Iterable, Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

Declared = Iterator[tuple[str, list[str | int]]]
"""Full names, each with what the wire needs to know of it."""


def of_enums(scope: str, enums: Iterable[EnumDescriptorProto]) -> Declared:
    """Yield the enums of a file or message, and their values."""
    for enum in enums:
        yield f"{scope}.{enum.name}", ["enum"]
        for value in enum.value:
            yield f"{scope}.{enum.name}.{value.name}", [value.number]


def of_messages(scope: str, messages: Iterable[DescriptorProto]) -> Declared:
    """Yield the messages of a file or message, and all that is in them."""
    for message in messages:
        name = f"{scope}.{message.name}"
        yield name, ["map entry" if message.options.map_entry else "message"]
        for field in message.field:
            kind = FieldDescriptorProto.Type.Name(field.type)
            label = FieldDescriptorProto.Label.Name(field.label)
            oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
            yield f"{name}.{field.name}", [field.number, kind, field.type_name, label, oneof]
        yield from of_enums(name, message.enum_type)
        yield from of_messages(name, message.nested_type)


def of_services(scope: str, services: Iterable[ServiceDescriptorProto]) -> Declared:
    """Yield the services of a file, and their methods."""
    for service in services:
        yield f"{scope}.{service.name}", ["service"]
        for method in service.method:
            streams = [method.client_streaming, method.server_streaming]
            yield f"{scope}.{service.name}.{method.name}", [method.input_type, method.output_type, *streams]


def declared(file: FileDescriptorProto) -> dict[str, list[str | int]]:
    """Return all that a file declares."""
    everything = dict(of_messages(file.package, file.message_type))
    everything |= of_enums(file.package, file.enum_type)
    everything |= of_services(file.package, file.service)
    return everything


def main() -> None:
    """Print an object: the name of what differs to how we declare it, and how the client does, if at all."""
    ours = declared(FileDescriptorProto.FromString(sys.stdin.buffer.read()))
    theirs: dict[str, list[str | int]] = {}
    for module in sys.argv[1:]:
        file = FileDescriptorProto()
        importlib.import_module(module).DESCRIPTOR.CopyToProto(file)
        theirs |= declared(file)
    json.dump({name: [how, theirs.get(name)] for name, how in ours.items() if how != theirs.get(name)}, sys.stdout)


if __name__ == "__main__":
    main()
