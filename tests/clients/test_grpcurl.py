"""Tests with grpcurl, which lists, describes and calls services by reflection."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.passenger import PASSENGER
from tests.server.support.process import serving

GRPCURL: Final = Path(__file__).parents[2] / ".build" / "go" / "grpcurl"
SERVICE: Final = "lifeboat.titanic.v1.TitanicService"
SERVICES: Final = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
    SERVICE,
]
INVALID_ARGUMENT: Final = 64 + 3
"""grpcurl's exit code: 64 for a failed call, plus the call's code."""


@pytest.fixture(scope="module")
def native() -> Iterator[httpx.Client]:
    """Yield a client of a server with native gRPC enabled."""
    with serving(LIFEBOAT_HTTP2="1") as client:
        yield client


def grpcurl(server: httpx.Client, *arguments: str, data: object = None) -> subprocess.CompletedProcess[str]:
    """Run grpcurl against a server; with `data`, the last argument is the method to call."""
    if not GRPCURL.exists():
        there = "`make test` builds it" if shutil.which("go") else "it is a Go program, and there is no go here"
        pytest.skip(f"grpcurl is not installed: {there}")
    given = [] if data is None else ["-format-error", "-d", json.dumps(data)]
    address = f"{server.base_url.host}:{server.base_url.port}"
    command = [str(GRPCURL), "-plaintext", *given, address, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def printed(server: httpx.Client, *arguments: str, data: object = None) -> str:
    """Return grpcurl's output of a successful call."""
    done = grpcurl(server, *arguments, data=data)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def documents(text: str) -> list[Any]:
    """Return the consecutive JSON documents in a text."""
    decoder, found, text = json.JSONDecoder(), [], text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:].strip()
    return found


def test_list(native: httpx.Client) -> None:
    """`list` shows every service, and a service's methods."""
    assert printed(native, "list").split() == SERVICES
    methods = ["Predict", "PredictBatch", "PredictStream"]
    assert printed(native, "list", SERVICE).split() == [f"{SERVICE}.{method}" for method in methods]


def test_describe(native: httpx.Client) -> None:
    """`describe` shows services and messages as declared."""
    assert "rpc PredictStream ( .lifeboat.titanic.v1.PredictBatchRequest )" in printed(native, "describe", SERVICE)
    described = printed(native, "describe", "lifeboat.titanic.v1.PredictRequest")
    assert "int64 pclass = 1;" in described
    assert "optional float age = 3;" in described
    for name in SERVICES:
        assert f"{name} is a service" in printed(native, "describe", name)


def test_predict(native: httpx.Client) -> None:
    """A JSON record gets the prediction of REST, alone and in a stream."""
    answer = native.post("/api/predict", json=PASSENGER).json()
    assert documents(printed(native, f"{SERVICE}/Predict", data=PASSENGER)) == [answer]
    unknown = {name: value for name, value in PASSENGER.items() if name != "age"} | {"sex": "male"}  # it takes no null
    other = native.post("/api/predict", json=unknown).json()
    assert answer != other
    streamed = printed(native, f"{SERVICE}/PredictStream", data={"records": [PASSENGER, unknown]})
    assert documents(streamed) == [answer, other]


def test_the_public_services(native: httpx.Client) -> None:
    """The services that belong to no model can be called by reflection."""
    health = printed(native, "grpc.health.v1.Health/Check", data={"service": SERVICE})
    assert documents(health) == [{"status": "SERVING"}]
    ready = printed(native, "inference.GRPCInferenceService/ModelReady", data={"name": "titanic"})
    assert documents(ready) == [{"ready": True}]


def test_an_error(native: httpx.Client) -> None:
    """A wrong record fails, and the error's details name the field."""
    done = grpcurl(native, f"{SERVICE}/Predict", data=PASSENGER | {"sex": "she"})
    message = 'sex: expected one of "female", "male"; got "she"'
    assert (done.returncode, done.stdout) == (INVALID_ARGUMENT, "")
    told = json.loads(done.stderr)
    assert (told["code"], told["message"]) == (3, message)
    (detail,) = told["details"]
    assert detail.pop("@type") == "type.googleapis.com/google.rpc.BadRequest"
    assert [*detail.values()] == [[{"field": "sex", "description": message}]]


def test_json_names(native: httpx.Client) -> None:
    """Messages of public services have the JSON names of the protobuf mapping."""
    (answer,) = documents(printed(native, "inference.GRPCInferenceService/ModelConfig", data={"name": "titanic"}))
    assert answer["config"]["maxBatchSize"] == 10_000
