"""Tests that the public services' .proto files agree with those in public clients' packages."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from server.rpc.proto import error_details_pb2, health_pb2, inference_pb2, reflection_alpha_pb2

ENVIRONMENTS: Final = Path(__file__).parents[2] / ".build" / "clients"
TRITON: Final = ("triton", "tritonclient.grpc.service_pb2", "tritonclient.grpc.model_config_pb2")
HEALTH: Final = ("grpcio", "grpc_health.v1.health_pb2")
REFLECTION: Final = ("grpcio", "grpc_reflection.v1alpha.reflection_pb2")
DETAILS: Final = ("grpcio", "google.rpc.error_details_pb2")
CONTRACTS: Final = [
    pytest.param(inference_pb2.DESCRIPTOR, TRITON, id="inference"),
    pytest.param(health_pb2.DESCRIPTOR, HEALTH, id="health"),
    # This package has v1alpha only; tests/server/rpc/test_proto.py proves that v1 is the same.
    pytest.param(reflection_alpha_pb2.DESCRIPTOR, REFLECTION, id="reflection"),
    pytest.param(error_details_pb2.DESCRIPTOR, DETAILS, id="error details"),
]


def as_message(descriptor: FileDescriptor) -> FileDescriptorProto:
    """Return a descriptor as a FileDescriptorProto."""
    message = FileDescriptorProto()
    descriptor.CopyToProto(message)
    return message


def differences(ours: FileDescriptorProto, client: str, *modules: str) -> Any:  # noqa: ANN401 # JSON
    """Return declarations that a client's modules have differently or not at all: name to ours and theirs."""
    python = ENVIRONMENTS / client / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{client} is not installed; `make test` does it")
    command = [str(python), str(Path(__file__).with_name("contract.py")), *modules]
    done = subprocess.run(command, input=ours.SerializeToString(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(("descriptor", "client"), CONTRACTS)
def test_public_clients_declare_the_same(descriptor: FileDescriptor, client: tuple[str, ...]) -> None:
    """Our messages, fields, enum values and methods equal the client's in number, type, label, oneof and streams."""
    assert differences(as_message(descriptor), *client) == {}


def test_a_difference_is_told() -> None:
    """A different number, type, label, oneof or stream, and a declaration that the client lacks, are found."""
    ours = as_message(inference_pb2.DESCRIPTOR)
    messages = {message.name: message for message in ours.message_type}
    messages["StatisticDuration"].field[0].number = 3
    messages["StatisticDuration"].field[1].type = FieldDescriptorProto.TYPE_INT64
    messages["ServerMetadataResponse"].field[2].label = FieldDescriptorProto.LABEL_OPTIONAL
    messages["ModelConfig"].field.add(name="colour", number=99, type=FieldDescriptorProto.TYPE_STRING)
    messages["InferParameter"].field[0].ClearField("oneof_index")
    ours.enum_type[0].value[3].number = 33
    ours.service[0].method[5].server_streaming = True
    told = differences(ours, *TRITON)
    assert set(told) == {
        "inference.StatisticDuration.count",
        "inference.StatisticDuration.ns",
        "inference.ServerMetadataResponse.extensions",
        "inference.ModelConfig.colour",
        "inference.InferParameter.bool_param",
        "inference.DataType.TYPE_UINT16",
        "inference.GRPCInferenceService.ModelInfer",
    }
    assert told["inference.StatisticDuration.count"] == [
        [3, "TYPE_UINT64", "", "LABEL_OPTIONAL", ""],
        [1, "TYPE_UINT64", "", "LABEL_OPTIONAL", ""],
    ]
    assert told["inference.ModelConfig.colour"][1] is None
