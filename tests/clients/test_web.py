"""Tests with public JavaScript clients of Connect, gRPC-Web and gRPC: each gets REST's predictions."""

from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.clients.node import Project
from tests.passenger import PASSENGER
from tests.server.support.process import serving

CONNECT: Final = ("connect-web", "connect-web json", "connect-node", "connect-node json", "connect-node gzip")
CONNECT_GET: Final = ("connect-web get", "connect-web get json")
GRPC_WEB: Final = (
    "connect-web grpc-web",
    "connect-web grpc-web json",
    "connect-node grpc-web",
    "connect-node grpc-web gzip",
)
OFFICIAL: Final = ("grpc-web binary", "grpc-web text")
HTTP1: Final = (*CONNECT, *CONNECT_GET, *GRPC_WEB, *OFFICIAL)
GRPC: Final = ("connect-node grpc", "connect-node grpc json", "connect-node grpc gzip")
HTTP2: Final = ("connect-node http2", *GRPC)
DEADLINES: Final = {
    name: "grpc-timeout" if name in {*GRPC_WEB, *OFFICIAL, *GRPC} else "connect-timeout-ms" for name in (*HTTP1, *HTTP2)
}
"""The header in which each client sends its deadline."""
LATE: Final = ("the deadline passed before the response", "the deadline passed before the request was complete")
KINDS: Final = ("predict", "predictBatch", "predictStream")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, server: httpx.Client) -> Project:
    """Return a Node project with the .proto that the server serves."""
    return Project(tmp_path_factory.mktemp("web"), server)


@pytest.fixture(scope="module")
def http2() -> Iterator[httpx.Client]:
    """Yield a client of a server with HTTP/2 beside HTTP/1.1."""
    with serving(LIFEBOAT_HTTP2="1") as client:
        yield client


@pytest.fixture(scope="module")
def records(passengers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return some passengers, including those with a missing value."""
    return passengers[::40] + [each for each in passengers if each["embarked"] is None or each["fare"] is None]


def check_answers(rest: httpx.Client, records: list[dict[str, Any]], told: dict[str, Any]) -> None:
    """Compare each client's results with REST's predictions."""
    alone = [rest.post("/api/predict", json=record).json() for record in records]
    together = rest.post("/api/predict", json={"records": records}).json()
    for name, answers in told.items():
        assert answers["predict"] == alone, name
        assert answers["predictBatch"] == together, name
        assert answers["predictStream"] == alone, name


def check_refusals(rest: httpx.Client, project: Project, *clients: str) -> None:
    """Compare each client's error for a wrong record with REST's error."""
    records = [PASSENGER, PASSENGER | {"pclass": 7, "age": None}]
    alone = rest.post("/api/predict", json=records[-1]).json()
    among = rest.post("/api/predict", json={"records": records}).json()
    assert (alone["field"], among["field"]) == ("pclass", "records[1].pclass")
    for name, answers in project.said(rest, "refused", records, *clients).items():
        for kind in KINDS:
            rest_said = alone if kind == "predict" else among
            expected = {"code": rest_said["code"], "message": rest_said["error"], "fields": [rest_said["field"]]}
            assert answers[kind] == {"failure": expected}, (name, kind)


def test_answers_are_rests(server: httpx.Client, project: Project, records: list[dict[str, Any]]) -> None:
    """Unary, batch and streaming calls return REST's predictions in every protocol over HTTP/1.1."""
    check_answers(server, records, project.said(server, "answers", records, *HTTP1))


def test_answers_over_http2_are_rests(http2: httpx.Client, project: Project, records: list[dict[str, Any]]) -> None:
    """Native gRPC, and Connect over HTTP/2, return REST's predictions."""
    check_answers(http2, records, project.said(http2, "answers", records, *HTTP2))


def test_get_is_used(server: httpx.Client, project: Project) -> None:
    """A client configured for GET uses it for unary calls; streams and other clients use POST."""
    told = project.said(server, "answers", [PASSENGER], *CONNECT_GET, "connect-web")
    methods = {
        name: [answers["sent"][kind]["method"] for kind in ("unary", "stream")] for name, answers in told.items()
    }
    assert methods == {name: ["GET", "POST"] for name in CONNECT_GET} | {"connect-web": ["POST", "POST"]}


def test_a_wrong_value_is_told_on_every_wire(server: httpx.Client, project: Project) -> None:
    """Code, message and the BadRequest detail's field arrive for unary calls and streams."""
    check_refusals(server, project, *HTTP1)


def test_a_wrong_value_is_told_over_http2(http2: httpx.Client, project: Project) -> None:
    """Code, message and field also arrive by native gRPC, which has its status in trailers."""
    check_refusals(http2, project, *HTTP2)


def test_a_deadline_is_sent(http2: httpx.Client, project: Project) -> None:
    """A client's deadline is sent with the call, in its protocol's header."""
    for name, answers in project.said(http2, "answers", [PASSENGER], *DEADLINES).items():
        for kind in ("unary", "stream"):
            stated = answers["sent"][kind]["headers"][DEADLINES[name]]
            assert 29_000 < int(stated.removesuffix("m")) <= 30_000, name  # a client may subtract its own time
            assert stated.endswith("m") == (DEADLINES[name] == "grpc-timeout"), name


def test_a_deadline_is_honoured(project: Project) -> None:
    """A call that would be late gets `deadline_exceeded`, with the server's message, when its time is over."""
    given = {"record": PASSENGER, "deadlines": DEADLINES}
    with serving(LIFEBOAT_HTTP2="1", LIFEBOAT_QUEUE_DELAY_US="1000000") as server:
        for name, answers in project.said(server, "late", given, *DEADLINES).items():
            for kind in KINDS:
                told = answers[kind]["failure"]
                assert told["code"] == "deadline_exceeded", (name, kind)
                # if head and message arrive separately, the deadline may pass between them
                assert told["message"] in LATE, (name, kind)
