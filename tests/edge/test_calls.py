"""Tests of Connect and gRPC-Web calls through the Worker, by public clients, and of the Worker's rejections."""

import base64
import re
import signal
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.clients.node import Project
from tests.edge.stack import ROOT, Local
from tests.passenger import PASSENGER

UNARY_CLIENTS: Final = ("connect-web", "connect-web json", "connect-web get", "connect-node", "connect-node gzip")
WEB_CLIENTS: Final = ("connect-web grpc-web", "connect-node grpc-web gzip", "grpc-web binary", "grpc-web text")
CLIENTS: Final = (*UNARY_CLIENTS, *WEB_CLIENTS)
STREAMING: Final = ("connect-web", "connect-web json", "connect-web grpc-web", "connect-node", "connect-node grpc-web")
"""Clients that deliver a message before the response ends. Node's official gRPC-Web client does not."""
PREDICT: Final = "/lifeboat.titanic.v1.TitanicService/Predict"
STREAM: Final = "/lifeboat.titanic.v1.TitanicService/PredictStream"
WATCH: Final = "/grpc.health.v1.Health/Watch"
CONTROL: Final = "/inference.GRPCInferenceService/RepositoryModelUnload"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, server: httpx.Client) -> Project:
    """Return a Node project with the .proto that the server serves."""
    return Project(tmp_path_factory.mktemp("web"), server)


@pytest.fixture
def broken(local: Local) -> Iterator[Local]:
    """Return the Worker with a container that fails to start."""
    local.engine.kill(signal.SIGKILL)
    local.engine.boot("exit 3")
    yield local
    local.engine.boot(None)


def test_answers_are_rests(
    local: Local, project: Project, server: httpx.Client, passengers: list[dict[str, Any]]
) -> None:
    """Unary, batch and streaming calls through the Worker return the server's REST predictions, bit for bit."""
    records = passengers[::130]
    alone = [server.post("/api/predict", json=record).json() for record in records]
    together = server.post("/api/predict", json={"records": records}).json()
    for name, answers in project.said(local.edge.http, "answers", records, *CLIENTS).items():
        assert answers["predict"] == answers["predictStream"] == alone, name
        assert answers["predictBatch"] == together, name


def test_a_wrong_value_is_told(local: Local, project: Project) -> None:
    """The server's rejection of a unary call or stream arrives with code, message and field."""
    records = [PASSENGER, PASSENGER | {"pclass": 7}]
    words = "pclass: expected one of 1, 2, 3; got 7"
    alone = {"code": "invalid_argument", "message": words, "fields": ["pclass"]}
    among = {"code": "invalid_argument", "message": f"records[1].{words}", "fields": ["records[1].pclass"]}
    for name, answers in project.said(local.edge.http, "refused", records, *CLIENTS).items():
        assert answers["predict"] == {"failure": alone}, name
        assert answers["predictBatch"] == answers["predictStream"] == {"failure": among}, name


def test_a_stream_is_not_held_back(local: Local, project: Project) -> None:
    """The first message of an endless stream arrives at once."""
    told = project.said(local.edge.http, "watch", None, *STREAMING)
    assert told == {name: {"status": "SERVING"} for name in STREAMING}


def test_text_is_not_held_back(local: Local) -> None:
    """The first message of a gRPC-Web text stream arrives at once, in whole base64 groups of four."""
    headers = {"content-type": "application/grpc-web-text", "accept": "application/grpc-web-text"}
    with local.edge.http.stream("POST", WATCH, content=b"AAAAAAA=", headers=headers) as response:
        assert response.headers["content-type"] == "application/grpc-web-text"
        assert base64.b64decode(next(response.iter_bytes())) == b"\0\0\0\0\2\x08\1"


def test_model_control_is_refused(local: Local, project: Project) -> None:
    """A client that would load a model gets `permission_denied`."""
    refused = {
        "code": "permission_denied",
        "message": "model control is not available through the Worker",
        "fields": [],
    }
    told = project.said(local.edge.http, "load", "titanic", *CLIENTS)
    assert told == {name: {"failure": refused} for name in CLIENTS}


def test_no_instance_is_told_as_unavailable(broken: Local, project: Project) -> None:
    """If no container starts, unary calls and streams get `unavailable`."""
    for name, answers in project.said(broken.edge.http, "refused", [PASSENGER], *CLIENTS).items():
        for kind, answer in answers.items():
            assert answer["failure"]["code"] == "unavailable", (name, kind)
            assert "instance" in answer["failure"]["message"], (name, kind)


def test_a_death_under_a_call_is_told_as_unavailable(local: Local) -> None:
    """If the instance is killed during a gRPC-Web request, the client gets `UNAVAILABLE` in its own protocol."""
    assert local.edge.answered().status_code == 200

    def body() -> Iterator[bytes]:
        yield b"\0\0\x3f\xff\xff" + b" " * 1_000_000  # larger than any buffer between the client and the server
        local.engine.kill(signal.SIGKILL)
        yield b" "

    headers = {"content-type": "application/grpc-web+proto"}
    response = local.edge.http.post(STREAM, content=body(), headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/grpc-web+proto")
    assert (response.headers["grpc-status"], response.content) == ("14", b"")
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", [PREDICT, STREAM, CONTROL])
def test_native_grpc_is_refused_at_once(cold: Local, path: str) -> None:
    """Native gRPC is rejected with a hint at Connect and gRPC-Web, and starts no container."""
    response = cold.edge.http.post(path, content=b"\0\0\0\0\0", headers={"content-type": "application/grpc"})
    assert (response.status_code, response.headers["grpc-status"]) == (415, "12")
    assert "use Connect or gRPC-Web" in response.json()["message"]
    assert not cold.engine.running()


@pytest.mark.parametrize(
    "path", [CONTROL, CONTROL.replace("/Repo", "%2fRepo"), CONTROL.replace("Model", "%4Dodel"), "/.git/config"]
)
def test_what_never_passes_starts_nothing(cold: Local, path: str) -> None:
    """The Worker rejects model control and unknown paths without starting a container."""
    response = cold.edge.http.post(path, json={})
    assert (response.status_code, response.json()["code"]) in {(403, "permission_denied"), (404, "not_found")}
    assert not cold.engine.running()


@pytest.mark.parametrize(
    ("method", "path", "content_type", "status"),
    [
        ("POST", "/lifeboat.titanic.v1.TitanicService/Nothing", "application/json", 404),
        ("POST", "/no.such.Service/Predict", "application/connect+proto", 404),
        ("POST", PREDICT, "text/csv", 415),
        ("POST", PREDICT, "application/connect+proto", 415),
        ("GET", STREAM, "application/json", 405),
    ],
)
def test_the_servers_plain_refusals_pass_unchanged(
    local: Local, server: httpx.Client, method: str, path: str, content_type: str, status: int
) -> None:
    """A plain-text error of the server passes unchanged; the Worker doesn't take it for the platform's."""
    headers = {"content-type": content_type}
    through, direct = (client.request(method, path, headers=headers) for client in (local.edge.http, server))
    assert (through.status_code, through.content) == (status, direct.content) == (direct.status_code, through.content)
    for name in ("content-type", "accept-post", "allow"):
        assert through.headers.get(name) == direct.headers.get(name)


def test_the_platforms_failures_are_known() -> None:
    """No error of the Container class has the status of a plain-text rejection by the server."""
    source = ROOT / "node_modules" / "@cloudflare" / "containers" / "dist" / "lib" / "container.js"
    stated = {int(status) for status in re.findall(r"status: (\d{3})\b", source.read_text())}
    assert stated >= {429, 500, 503}
    assert all(status == 429 or status >= 500 for status in stated)
