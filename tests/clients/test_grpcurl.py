"""grpcurl, which knows nothing but the server's address: what it lists, describes and calls by reflection."""

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
"""What it exits with: its own first code for a call that failed, and the call's."""


@pytest.fixture(scope="module")
def native() -> Iterator[httpx.Client]:
    """Yield a client of a server that speaks native gRPC."""
    with serving(LIFEBOAT_HTTP2="1") as client:
        yield client


def grpcurl(server: httpx.Client, *arguments: str, data: object = None) -> subprocess.CompletedProcess[str]:
    """Run grpcurl against a server; with `data`, its last argument is the method to call."""
    if not GRPCURL.exists():
        there = "`make test` builds it" if shutil.which("go") else "it is a Go program, and there is no go here"
        pytest.skip(f"grpcurl is not installed: {there}")
    given = [] if data is None else ["-format-error", "-d", json.dumps(data)]
    address = f"{server.base_url.host}:{server.base_url.port}"
    command = [str(GRPCURL), "-plaintext", *given, address, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def printed(server: httpx.Client, *arguments: str, data: object = None) -> str:
    """Return what grpcurl printed of a call that went well."""
    done = grpcurl(server, *arguments, data=data)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def documents(text: str) -> list[Any]:
    """Return the JSON documents that stand one behind the other."""
    decoder, found, text = json.JSONDecoder(), [], text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:].strip()
    return found


def test_list(native: httpx.Client) -> None:
    """Every service is listed, and a service's methods."""
    assert printed(native, "list").split() == SERVICES
    methods = ["Predict", "PredictBatch", "PredictStream"]
    assert printed(native, "list", SERVICE).split() == [f"{SERVICE}.{method}" for method in methods]


def test_describe(native: httpx.Client) -> None:
    """Services and messages are shown as they are declared."""
    assert "rpc PredictStream ( .lifeboat.titanic.v1.PredictBatchRequest )" in printed(native, "describe", SERVICE)
    described = printed(native, "describe", "lifeboat.titanic.v1.PredictRequest")
    assert "int64 pclass = 1;" in described
    assert "optional float age = 3;" in described
    for name in SERVICES:
        assert f"{name} is a service" in printed(native, "describe", name)


def test_predict(native: httpx.Client) -> None:
    """A record in JSON is answered as REST does; so are a stream's, one by one."""
    answer = native.post("/api/predict", json=PASSENGER).json()
    assert documents(printed(native, f"{SERVICE}/Predict", data=PASSENGER)) == [answer]
    unknown = {name: value for name, value in PASSENGER.items() if name != "age"} | {"sex": "male"}  # it takes no null
    other = native.post("/api/predict", json=unknown).json()
    assert answer != other
    streamed = printed(native, f"{SERVICE}/PredictStream", data={"records": [PASSENGER, unknown]})
    assert documents(streamed) == [answer, other]


def test_the_public_services(native: httpx.Client) -> None:
    """The services of no model's own are called by reflection too."""
    health = printed(native, "grpc.health.v1.Health/Check", data={"service": SERVICE})
    assert documents(health) == [{"status": "SERVING"}]
    ready = printed(native, "inference.GRPCInferenceService/ModelReady", data={"name": "titanic"})
    assert documents(ready) == [{"ready": True}]


def test_an_error(native: httpx.Client) -> None:
    """A wrong record fails, and the details that are shown name the field."""
    done = grpcurl(native, f"{SERVICE}/Predict", data=PASSENGER | {"sex": "she"})
    message = 'sex: expected one of "female", "male"; got "she"'
    assert (done.returncode, done.stdout) == (INVALID_ARGUMENT, "")
    told = json.loads(done.stderr)
    assert (told["code"], told["message"]) == (3, message)
    (detail,) = told["details"]
    assert detail.pop("@type") == "type.googleapis.com/google.rpc.BadRequest"
    assert [*detail.values()] == [[{"field": "sex", "description": message}]]


def test_json_names(native: httpx.Client) -> None:
    """The public services' messages are shown by their JSON names, as the protobuf mapping has them."""
    (answer,) = documents(printed(native, "inference.GRPCInferenceService/ModelConfig", data={"name": "titanic"}))
    assert answer["config"]["maxBatchSize"] == 10_000
