"""The .proto files of the public RPC services, and the modules generated from them."""

import importlib
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodOptions,
)

ROOT: Final = Path(__file__).parents[3]
PROTO: Final = ROOT / "server" / "rpc" / "proto"
NAMES: Final = sorted(path.stem for path in PROTO.glob("*.proto"))
# A location in a source file is a path of field numbers of FileDescriptorProto, DescriptorProto and similar messages.
MESSAGE, ENUM, SERVICE, FIELD, NESTED_MESSAGE, NESTED_ENUM, MEMBER, ONEOF = 4, 5, 6, 2, 3, 4, 2, 8


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileDescriptorProto]:
    """Compile the .proto files with protoc, and return the descriptors by file name."""
    target = tmp_path_factory.mktemp("compiled") / "set.bin"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--descriptor_set_out={target}"]
    command += ["--include_source_info", *(f"{name}.proto" for name in NAMES)]
    done = subprocess.run(command, cwd=PROTO, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return {file.name: file for file in FileDescriptorSet.FromString(target.read_bytes()).file}


def generated(name: str) -> FileDescriptor:
    """Return the descriptor in a generated module."""
    descriptor: FileDescriptor = importlib.import_module(f"server.rpc.proto.{name}_pb2").DESCRIPTOR
    return descriptor


def leave_out_json_names(messages: Iterable[DescriptorProto]) -> None:
    """Clear default JSON names, which protoc writes into a set but not into a module."""
    for message in messages:
        for field in message.field:
            if field.json_name == re.sub("_(.)", lambda found: found[1].upper(), field.name):
                field.ClearField("json_name")
        leave_out_json_names(message.nested_type)


@pytest.mark.parametrize("name", NAMES)
def test_generated_modules_say_what_the_files_say(compiled: dict[str, FileDescriptorProto], name: str) -> None:
    """A generated module equals its .proto file; a change without `make proto` fails here."""
    expected, given = FileDescriptorProto(), FileDescriptorProto()
    expected.CopyFrom(compiled[f"{name}.proto"])
    expected.ClearField("source_code_info")
    leave_out_json_names(expected.message_type)
    generated(name).CopyToProto(given)
    assert given == expected


def test_every_module_has_its_file() -> None:
    """Every generated module has a .proto file."""
    assert sorted(path.stem for path in PROTO.glob("*_pb2.*")) == sorted(f"{name}_pb2" for name in NAMES * 2)


def enum_places(enum: EnumDescriptorProto, path: tuple[int, ...], name: str) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the paths and names of an enum and its values."""
    yield path, name
    for index, value in enumerate(enum.value):
        yield (*path, MEMBER, index), f"{name}.{value.name}"


def message_places(message: DescriptorProto, path: tuple[int, ...], name: str) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the paths and names of a message and its members, except map entries."""
    if message.options.map_entry:
        return
    yield path, name
    for index, field in enumerate(message.field):
        yield (*path, FIELD, index), f"{name}.{field.name}"
    for index, oneof in enumerate(message.oneof_decl):
        yield (*path, ONEOF, index), f"{name}.{oneof.name}"
    for index, nested in enumerate(message.nested_type):
        yield from message_places(nested, (*path, NESTED_MESSAGE, index), f"{name}.{nested.name}")
    for index, enum in enumerate(message.enum_type):
        yield from enum_places(enum, (*path, NESTED_ENUM, index), f"{name}.{enum.name}")


def places(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the paths and names of all declarations in a file."""
    for index, message in enumerate(file.message_type):
        yield from message_places(message, (MESSAGE, index), message.name)
    for index, enum in enumerate(file.enum_type):
        yield from enum_places(enum, (ENUM, index), enum.name)
    for index, service in enumerate(file.service):
        yield (SERVICE, index), service.name
        for number, method in enumerate(service.method):
            yield (SERVICE, index, MEMBER, number), f"{service.name}.{method.name}"


@pytest.mark.parametrize("name", NAMES)
def test_everything_declared_has_its_comment(compiled: dict[str, FileDescriptorProto], name: str) -> None:
    """Every message, field, oneof, enum, value, service and method has a leading comment."""
    file = compiled[f"{name}.proto"]
    said = {tuple(each.path) for each in file.source_code_info.location if each.leading_comments.strip()}
    declared = dict(places(file))
    assert declared
    assert [name for path, name in declared.items() if path not in said] == []


def test_what_may_be_called_again() -> None:
    """All methods without side effects are marked so; streams and model control are not."""
    methods = [
        method
        for name in NAMES
        for service in generated(name).services_by_name.values()
        for method in service.methods
        if method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS
    ]
    streams = {method.name for method in methods if method.client_streaming or method.server_streaming}
    assert streams == {"ModelStreamInfer", "Watch", "ServerReflectionInfo"}
    assert {method.name for method in methods} - streams == {"RepositoryModelLoad", "RepositoryModelUnload"}


def test_both_names_of_reflection_say_the_same() -> None:
    """Both reflection services are the same, except for their package."""
    first, second = ((PROTO / f"{name}.proto").read_text().splitlines() for name in ("reflection", "reflection_alpha"))
    differing = [pair for pair in zip(first[1:], second[1:], strict=True) if pair[0] != pair[1]]
    assert differing == [("package grpc.reflection.v1;", "package grpc.reflection.v1alpha;")]


def test_the_modules_need_protobuf_alone() -> None:
    """Importing the messages doesn't import gRPC, which the server doesn't have."""
    modules = ", ".join(f"server.rpc.proto.{name}_pb2" for name in NAMES)
    code = (
        f"import sys; before = {{*sys.modules}}; import {modules};"
        "print(*{name.partition('.')[0] for name in {*sys.modules} - before} - {*sys.stdlib_module_names})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"google", "server"}
