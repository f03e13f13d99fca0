"""Tests of the real image, with the limits of the platform's `basic` instance."""

import io
import json
import shutil
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.docker import BASIC, WAIT_S, docker, running, wait_healthy
from tests.edge.stack import ROOT
from tests.passenger import PASSENGER
from tests.server.support import files
from tests.server.support.files import Record, upload
from tests.server.support.rpc import PREDICT, Http2, Spoken, decoded, request

READ_ONLY = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
TEMPORARY = "/tmp"  # noqa: S108 # a folder in the container
FOR_FILES = ("arro3", "nanoarrow", "backports", "tqdm")
"""The packages whose only use is to read and write files."""
FORBIDDEN = ("sklearn", "skl2onnx", "pandas", "scipy", "pip", "gcc", "cc1", "bash", "sh", "apt", "dpkg", "export")


@pytest.fixture(scope="module")
def sizes(image: str) -> dict[str, int]:
    """Return each path in the image with its size in bytes."""
    container = docker("create", image)
    try:
        export = subprocess.run(["docker", "export", container], capture_output=True, check=True).stdout
    finally:
        docker("rm", container)
    with tarfile.open(fileobj=io.BytesIO(export)) as root:
        return {each.name: each.size for each in root}


@contextmanager
def server(image: str, *options: str) -> Iterator[tuple[str, httpx.Client]]:
    """Run the image with the limits of `basic`; yield the ready container and a client."""
    with running(image, "--publish", "127.0.0.1::8080", "--health-interval", "1s", *BASIC, *options) as container:
        wait_healthy(container)
        port = json.loads(docker("inspect", container))[0]["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield container, client


def test_it_answers_within_basic(image: str) -> None:
    """The image predicts on a quarter of a CPU and 1 GiB, read-only and without capabilities."""
    with server(image, *READ_ONLY) as (container, client):
        answer = client.post("/api/predict", json=PASSENGER)
        state = json.loads(docker("inspect", container))[0]
    assert (answer.status_code, answer.json()["label"]) == (200, "survived")
    assert state["HostConfig"]["NanoCpus"] == 250_000_000
    assert not state["State"]["OOMKilled"]


def test_it_holds_only_what_runs(image: str, sizes: dict[str, int]) -> None:
    """The image has no training code, compiler, package manager or shell, and doesn't run as root."""
    parts = {part for path in sizes for part in path.split("/")}
    assert parts.isdisjoint(FORBIDDEN)
    assert "app/models/titanic/1/model.onnx" in sizes
    assert json.loads(docker("inspect", image))[0]["Config"]["User"] == "65532:65532"


def test_the_size_is_told(image: str, sizes: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    """The decompressed image is smaller than 200 MB."""
    size = int(json.loads(docker("inspect", image))[0]["Size"])
    tables = sum(size for path, size in sizes.items() if path.removeprefix("opt/site/").startswith(FOR_FILES))
    with capsys.disabled():
        print(f"\nimage: {size / 1e6:.0f} MB unpacked, {(size - tables) / 1e6:.0f} MB without {', '.join(FOR_FILES)}")
    assert tables > 0
    assert size < 200e6


@pytest.mark.parametrize("form", ["csv", "arrow", "parquet"])
def test_it_scores_files(image: str, passengers: list[Record], form: str) -> None:
    """With the limits of `basic` the image scores a file of each format; only /tmp is writable."""
    with server(image, *READ_ONLY, "--tmpfs", TEMPORARY) as (container, client):
        response = client.put("/api/batch", content=_written(form, passengers), headers={"accept": "text/csv"})
        state = json.loads(docker("inspect", container))[0]["State"]
    assert response.status_code == 200, response.text
    if form == "csv":
        files.check(response.content, passengers)
    labels, probabilities = files.answers(passengers)
    rows = [line.split(",") for line in response.text.splitlines()[1:]]
    assert [row[7] for row in rows] == labels
    assert (np.array([row[8:] for row in rows], np.float32) == probabilities).all()
    assert not state["OOMKilled"]


def test_without_a_folder_for_temporary_files(image: str, passengers: list[Record]) -> None:
    """Fully read-only, the image scores streams and rejects Parquet and clients that only send."""
    with server(image, *READ_ONLY, "--env", "LIFEBOAT_MAX_IDLE_S=4") as (container, client):
        for form in ("csv", "arrow"):
            assert client.put("/api/batch", content=_written(form, passengers)).status_code == 200
        refused = client.put("/api/batch", content=_written("parquet", passengers))
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert "temporary file" in refused.json()["error"]
        reason = _reason(container, client, files.csv(passengers, 2_000_000))
        assert reason.startswith("deadline_exceeded: no data of the file arrived and no data of the response was read")
        assert client.put("/api/batch", content=_written("csv", passengers)).status_code == 200


def _reason(container: str, client: httpx.Client, body: bytes) -> str:
    """Send a file and read nothing; return the reason of the failure in the container's log."""
    command = ["docker", "logs", "--follow", "--tail", "0", container]
    with (
        upload(client) as sent,
        ThreadPoolExecutor(1) as sender,
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as log,
    ):
        assert log.stderr is not None
        watchdog = threading.Timer(WAIT_S, log.kill)
        watchdog.start()
        sender.submit(sent.send, body)  # docker's port proxy receives longer than the container
        failed = next((line for line in log.stderr if "batch failed (" in line), "nothing")
        watchdog.cancel()
        log.terminate()
        sent.connection.shutdown(socket.SHUT_RDWR)
    return failed.partition("batch failed (")[2]


def _written(form: str, passengers: list[Record]) -> bytes:
    """Return the passengers as a file of this format."""
    if form == "csv":
        return files.csv(passengers)
    table = pa.Table.from_pylist(passengers).select(files.NAMES)
    out = io.BytesIO()
    if form == "parquet":
        pq.write_table(table, out)
    else:
        with pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table)
    return out.getvalue()


class _Port:
    """The published port of a container, for an HTTP/2 client."""

    def __init__(self, client: httpx.Client) -> None:
        self._address = (client.base_url.host, client.base_url.port or 80)

    def connect(self) -> socket.socket:
        return socket.create_connection(self._address)

    def during(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 # the result of `work`
        return work()


def test_calls(image: str) -> None:
    """The image serves Connect calls, and native gRPC if HTTP/2 is enabled."""
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
    """A request whose body arrives after SIGTERM is served, and the container exits with 0."""
    body = json.dumps(PASSENGER).encode()
    head = f"POST /api/predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with (
        server(image) as (container, client),
        socket.create_connection((client.base_url.host, client.base_url.port)) as call,
    ):
        call.sendall(head + body[:10])
        client.get("/v2/health/live")  # the server has accepted the request above before this one
        docker("kill", "--signal", "SIGTERM", container)
        call.sendall(body[10:])
        assert call.recv(65536).startswith(b"HTTP/1.1 200 ")
        call.close()
        assert docker("wait", container) == "0"


def test_a_damaged_model_is_refused(image: str, tmp_path: Path) -> None:
    """An image with one changed byte in its model exits with 1 and names model and version."""
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models", models)
    model = models / "titanic/1/model.onnx"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    with running(image, "--volume", f"{models}:/app/models:ro", *BASIC) as container:
        assert docker("wait", container) == "1"
        assert "model 'titanic' version 1: model.onnx: expected SHA-256" in docker("logs", container)
