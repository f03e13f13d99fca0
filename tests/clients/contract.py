"""Compare a public service's .proto with a client's own descriptors; print the differences as JSON.

Run in the client's environment by tests/clients/test_contract.py: contract.py MODULE... < FileDescriptorProto

Declarations that only the client has are no difference: our .proto may leave out some, but declare no others.
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
"""Full names, each with its attributes that matter on the wire."""


def of_enums(scope: str, enums: Iterable[EnumDescriptorProto]) -> Declared:
    """Yield the enums of a file or message, and their values."""
    for enum in enums:
        yield f"{scope}.{enum.name}", ["enum"]
        for value in enum.value:
            yield f"{scope}.{enum.name}.{value.name}", [value.number]


def of_messages(scope: str, messages: Iterable[DescriptorProto]) -> Declared:
    """Yield the messages of a file or message, with their fields and nested types."""
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
    """Return all declarations of a file."""
    everything = dict(of_messages(file.package, file.message_type))
    everything |= of_enums(file.package, file.enum_type)
    everything |= of_services(file.package, file.service)
    return everything


def main() -> None:
    """Print an object: each differing name with our declaration and the client's (null if missing)."""
    ours = declared(FileDescriptorProto.FromString(sys.stdin.buffer.read()))
    theirs: dict[str, list[str | int]] = {}
    for module in sys.argv[1:]:
        file = FileDescriptorProto()
        importlib.import_module(module).DESCRIPTOR.CopyToProto(file)
        theirs |= declared(file)
    json.dump({name: [how, theirs.get(name)] for name, how in ours.items() if how != theirs.get(name)}, sys.stdout)


if __name__ == "__main__":
    main()
