"""Tests with plain gRPC stubs: health, reflection, and the typed service from its served .proto."""

import base64
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from server.models import manifest as manifests
from server.rpc.services import typed_descriptor
from tests.clients.client import command, told
from tests.passenger import PASSENGER
from tests.server.support.process import ServerProcess, serving

TITANIC: Final = Path(__file__).parents[2] / "models" / "titanic" / "1" / "manifest.json"
SERVICES: Final[Mapping[str, list[str]]] = {
    "grpc.health.v1.Health": ["Check", "List", "Watch"],
    "grpc.reflection.v1.ServerReflection": ["ServerReflectionInfo"],
    "grpc.reflection.v1alpha.ServerReflection": ["ServerReflectionInfo"],
    "inference.GRPCInferenceService": [
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelInfer",
        "ModelStreamInfer",
        "ModelConfig",
        "ModelStatistics",
        "RepositoryIndex",
        "RepositoryModelLoad",
        "RepositoryModelUnload",
    ],
    "lifeboat.titanic.v1.TitanicService": ["Predict", "PredictBatch", "PredictStream"],
}
SEX: Final = 'expected one of "female", "male"; got "she"'
REFUSED: Final[Mapping[str, tuple[str, str, str | None]]] = {
    "category": ("INVALID_ARGUMENT", f"sex: {SEX}", "sex"),
    "batch": ("INVALID_ARGUMENT", f"records[1].sex: {SEX}", "records[1].sex"),
    "stream": ("INVALID_ARGUMENT", f"records[1].sex: {SEX}", "records[1].sex"),
    "empty batch": ("INVALID_ARGUMENT", "records: expected at least one", "records"),
    "empty stream": ("INVALID_ARGUMENT", "records: expected at least one", "records"),
    "too many": ("RESOURCE_EXHAUSTED", "records: expected at most 10000, got 10001", "records"),
    "deadline": ("DEADLINE_EXCEEDED", "Deadline Exceeded", None),
    "batch's deadline": ("DEADLINE_EXCEEDED", "Deadline Exceeded", None),
    "stream's deadline": ("DEADLINE_EXCEEDED", "Deadline Exceeded", None),
    "no such method": ("UNIMPLEMENTED", "there is no method /lifeboat.titanic.v1.TitanicService/Guess", None),
    "no such service": ("UNIMPLEMENTED", "there is no method /lifeboat.other.v1.OtherService/Predict", None),
    "no message": ("INVALID_ARGUMENT", "message: expected lifeboat.titanic.v1.PredictRequest in binary", None),
    "two messages": ("UNIMPLEMENTED", "request: expected one message; got more", None),
}
"""Wrong calls, with the expected code, message, and field in the details."""
NOT_FOUND: Final = 5
CALLS: Final = 20_000


@pytest.fixture(scope="module")
def native() -> Iterator[httpx.Client]:
    """Yield a client of a server with native gRPC enabled."""
    with serving(LIFEBOAT_HTTP2="1") as client:
        yield client


@pytest.fixture(scope="module")
def typed(native: httpx.Client, records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the results of the typed service's stubs."""
    said: dict[str, dict[str, Any]] = told("grpcio", "typed_calls.py", native, given=records)
    return said


@pytest.fixture
def request_bytes(passenger: dict[str, Any]) -> str:
    """Return a binary PredictRequest in base64."""
    file = typed_descriptor.file(manifests.read(TITANIC))
    pool = DescriptorPool()
    pool.Add(file)
    kind = GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{typed_descriptor.REQUEST}"))
    return base64.b64encode(kind(**passenger).SerializeToString()).decode()


def metrics(client: httpx.Client) -> dict[str, float]:
    """Return every sample of the server's metrics."""
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_health(native: httpx.Client) -> None:
    """Check, List and Watch return the status of the server and of each service."""
    for said in told("grpcio", "health_calls.py", native).values():
        assert said["check"] == ["SERVING"] * 4
        assert said["list"] == dict.fromkeys(["", *SERVICES], "SERVING")
        assert said["watch"] == "SERVICE_UNKNOWN"
        assert said["other"] == ["NOT_FOUND", "there is no service 'other'"]


@pytest.mark.parametrize("service", ["", "lifeboat.titanic.v1.TitanicService"])
def test_watch_ends_when_the_server_does(service: str) -> None:
    """At SIGTERM a Watch stream gets NOT_SERVING and ends, and doesn't delay the server's end."""
    with ServerProcess(LIFEBOAT_HTTP2="1") as server:
        host, port = server.address()
        called = command("grpcio", "watch_calls.py", f"{host}:{port}", service)
        with subprocess.Popen(called, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            assert watching.stdout.readline() == "SERVING\n"
            server.signal(signal.SIGTERM)
            assert watching.stdout.read().split() == ["NOT_SERVING", "OK"]
        assert server.end() == 0, server.text


@pytest.fixture(scope="module")
def reflected(native: httpx.Client) -> dict[str, Any]:
    """Return the results of reflection."""
    found: dict[str, Any] = told("grpcio", "reflection_calls.py", native, given=PASSENGER)
    return found


def test_reflection(reflected: dict[str, Any], native: httpx.Client, passenger: dict[str, Any]) -> None:
    """Reflection lists every service and finds each symbol, so that a client can call Predict."""
    assert reflected["services"] == SERVICES
    assert {reflected[what] for what in ("file", "by name", "of a message")} == {"lifeboat/titanic/v1/service.proto"}
    assert {reflected[what] for what in ("of a nested message", "of an enum")} == {"inference.proto"}
    assert reflected["of a detail"].endswith("error_details.proto")
    assert reflected["extensions"] == []
    assert (reflected["missing symbol"], reflected["missing file"]) == (True, True)
    assert reflected["missing extension"] == NOT_FOUND
    assert reflected["predicted"] == native.post("/api/predict", json=passenger).json()


def test_extensions_of_what_there_is_not(reflected: dict[str, Any]) -> None:
    """The extensions of an unknown message are NOT_FOUND."""
    assert reflected["extensions of what there isn't"] == NOT_FOUND


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_typed_service(typed: dict[str, dict[str, Any]], expected: dict[str, Any], kind: str) -> None:
    """Stubs from the served .proto get onnxruntime's outputs: single, concurrent, batch and stream calls."""
    said = typed[kind]
    for call in ("predict", "futures", "compressed", "batch", "stream", "after"):
        assert said[call] == expected, call
    assert said["served"] == ["titanic", "1", "titanic", "1"]
    assert said["many"] == 10_000
    assert said["cancelled"] == "CANCELLED"


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_typed_service_refuses(typed: dict[str, dict[str, Any]], kind: str, what: str) -> None:
    """A wrong call gets the right code; message and google.rpc.BadRequest name the field."""
    code, message, field = REFUSED[what]
    said = typed[kind]["refused"][what]
    assert (said["code"], said["message"]) == (code, message)
    violations = [{"field": field, "description": message}]
    assert said["details"] == ({} if field is None else {"google.rpc.BadRequest": {"fieldViolations": violations}})


def test_every_refusal_is_tried(typed: dict[str, dict[str, Any]]) -> None:
    """Each wrong call has an expected result."""
    assert set(typed["sync"]["refused"]) == set(typed["aio"]["refused"]) == set(REFUSED)


def test_what_is_given_up_is_not_run(request_bytes: str) -> None:
    """A call that is late or cancelled in the queue ends so, and isn't run."""
    with serving(LIFEBOAT_HTTP2="1", LIFEBOAT_QUEUE_DELAY_US="1000000") as server:
        said = told("grpcio", "waiting_calls.py", server, given=request_bytes)
        counted = metrics(server)
    assert said == {"late": "DEADLINE_EXCEEDED", "left": "CANCELLED", "last": True}
    labels = 'model="titanic",version="1"'
    assert counted[f"nv_inference_count{{{labels}}}"] == 1
    assert counted[f"nv_inference_pending_request_count{{{labels}}}"] == 0
    failed = {name: number for name, number in counted.items() if name.startswith("nv_inference_request_failure")}
    assert sum(failed.values()) == 2


def test_many_calls_by_one_channel(native: httpx.Client, request_bytes: str) -> None:
    """One channel makes thousands of calls without an error."""
    assert told("grpcio", "many_calls.py", native, str(CALLS), given=request_bytes) == {"OK": CALLS}
