"""The real image under a real engine, within the limits of the platform's `basic` instance."""

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.docker import BASIC, docker, running, wait_healthy
from tests.edge.stack import ROOT
from tests.passenger import PASSENGER
from tests.server.rpc import PREDICT, Http2, Spoken, decoded, request

FORBIDDEN = ("sklearn", "skl2onnx", "pandas", "scipy", "pip", "gcc", "cc1", "bash", "sh", "apt", "dpkg", "export")


@pytest.fixture(scope="module")
def files(image: str) -> list[str]:
    """Return the path of every file in the image."""
    container = docker("create", image)
    try:
        export = subprocess.run(["docker", "export", container], capture_output=True, check=True).stdout
    finally:
        docker("rm", container)
    return subprocess.run(["tar", "-t"], input=export, capture_output=True, check=True).stdout.decode().splitlines()


@contextmanager
def server(image: str, *options: str) -> Iterator[tuple[str, httpx.Client]]:
    """Run the image with the limits of `basic`; yield the container and a client of its port, once it is ready."""
    with running(image, "--publish", "127.0.0.1::8080", "--health-interval", "1s", *BASIC, *options) as container:
        wait_healthy(container)
        port = json.loads(docker("inspect", container))[0]["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield container, client


def test_it_answers_within_basic(image: str) -> None:
    """On a quarter of a CPU and 1 GiB, read-only and without any capability, the image becomes healthy and predicts."""
    with server(image, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges") as (
        container,
        client,
    ):
        answer = client.post("/api/predict", json=PASSENGER)
        state = json.loads(docker("inspect", container))[0]
    assert (answer.status_code, answer.json()["label"]) == (200, "survived")
    assert state["HostConfig"]["NanoCpus"] == 250_000_000
    assert not state["State"]["OOMKilled"]


def test_it_holds_only_what_runs(image: str, files: list[str]) -> None:
    """The image has no training code, compiler, package manager or shell, and runs as no root."""
    parts = {part for path in files for part in path.split("/")}
    assert parts.isdisjoint(FORBIDDEN)
    assert "app/models/titanic/1/model.onnx" in files
    assert json.loads(docker("inspect", image))[0]["Config"]["User"] == "65532:65532"


def test_the_size_is_told(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The image stays under 200 MB unpacked."""
    size = int(json.loads(docker("inspect", image))[0]["Size"])
    with capsys.disabled():
        print(f"\nimage: {size / 1e6:.0f} MB unpacked")
    assert size < 200e6


class _Port:
    """The published port of a container, for a caller that speaks HTTP/2."""

    def __init__(self, client: httpx.Client) -> None:
        self._address = (client.base_url.host, client.base_url.port or 80)

    def connect(self) -> socket.socket:
        return socket.create_connection(self._address)

    def during(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 # whatever the work returns
        return work()


def test_calls(image: str) -> None:
    """The image answers calls: Connect as it is, and native gRPC where HTTP/2 is asked for."""
    with server(image, "--env", "LIFEBOAT_HTTP2=1") as (_, client):
        expected = client.post("/api/predict", json=PASSENGER).json()
        assert client.post(PREDICT, json=PASSENGER).json() == expected
        assert "service TitanicService" in client.get("/api/models/titanic/service.proto").text
        grpc = Spoken("application/grpc", http2=True)
        with Http2(_Port(client)) as connection:
            body = grpc.wrapped(request(**PASSENGER).SerializeToString())
            answer = connection.post(PREDICT, body, ("content-type", grpc.media_type), ("te", "trailers"))
    status, message, _ = grpc.read(answer)
    assert (status, decoded(grpc, "PredictResponse", message)) == (0, expected)
    with server(image) as (_, client):
        assert client.post(PREDICT, json=PASSENGER).json() == expected


def test_sigterm_answers_what_is_in_flight(image: str) -> None:
    """After SIGTERM a request whose body is still arriving is answered, and the container exits with 0."""
    body = json.dumps(PASSENGER).encode()
    head = f"POST /api/predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with (
        server(image) as (container, client),
        socket.create_connection((client.base_url.host, client.base_url.port)) as call,
    ):
        call.sendall(head + body[:10])
        client.get("/v2/health/live")  # the server has taken up the call before this one
        docker("kill", "--signal", "SIGTERM", container)
        call.sendall(body[10:])
        assert call.recv(65536).startswith(b"HTTP/1.1 200 ")
        call.close()
        assert docker("wait", container) == "0"


def test_a_damaged_model_is_refused(image: str, tmp_path: Path) -> None:
    """An image whose model was changed by one byte ends with 1, naming model and version, and never serves."""
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models", models)
    model = models / "titanic/1/model.onnx"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    with running(image, "--volume", f"{models}:/app/models:ro", *BASIC) as container:
        assert docker("wait", container) == "1"
        assert "model 'titanic' version 1: model.onnx: expected SHA-256" in docker("logs", container)
