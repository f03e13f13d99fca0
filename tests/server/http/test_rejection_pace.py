"""After a rejection the server delays reading from that connection, on both HTTP versions."""

import socket
from collections.abc import Iterator
from typing import Final

import pytest

from server.http.rejection_pace import RejectionPace
from server.models.repository import Repository
from tests.passenger import PASSENGER
from tests.server.support.frames import END_STREAM, Client, block, frame, head, whole
from tests.server.support.rpc import MODELS
from tests.server.support.wire import Wire, post, wire

LONG_S: Final = 3600.0
REST: Final = "/api/predict"
DATA: Final = 0
FILE: Final = b"PUT /api/batch HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\ncontent-length: 4\r\n\r\nage\n"
FILE_HEAD: Final = head((b"content-type", b"text/csv"), path=b"/api/batch", method=b"PUT")
LARGE_HEAD: Final = head((b"content-length", b"200000"))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Serve without capacity for files, with a delay after rejections longer than any test."""
    monkeypatch.setattr(RejectionPace, "delay_s", lambda _self, _body_bytes: LONG_S)
    limits = {"max_batches": 0, "max_queue_rows": 2, "queue_delay_us": 200_000}
    with wire(Repository.load(MODELS), http2=True, **limits) as opened:
        yield opened
        for each in [*opened.state.connections]:  # a connection that isn't read doesn't notice that it has ended
            each.transport.abort()
        opened.turn()


def _has_no_response(served: Wire, connection: socket.socket) -> bool:
    """Return True if no response arrives on a connection within some event loop iterations."""
    served.turn()
    connection.setblocking(False)
    try:
        connection.recv(1)
    except BlockingIOError:
        return True
    return False


def test_a_rejected_file_slows_its_connection(served: Wire) -> None:
    """On HTTP/1.1 the 429 is sent at once, and the next request is read later."""
    with served.connect() as rejected, served.connect() as other:
        rejected.sendall(FILE)
        assert served.read(rejected)[0][0] == 429
        for connection in (rejected, other):
            connection.sendall(post("/api/unknown", PASSENGER))
        assert served.read(other)[0][0] == 404
        assert _has_no_response(served, rejected)


def test_a_rejected_file_slows_its_http2_connection(served: Wire) -> None:
    """On HTTP/2 the same delay applies if the connection has no other open request."""
    with Client(served) as rejected, Client(served) as other:
        rejected.send(block(1, FILE_HEAD) + frame(DATA, END_STREAM, 1, b"age\n"))
        assert rejected.answer(1)[0] == 429
        rejected.send(whole(3))
        other.send(whole(1))
        assert other.answer(1)[0] == 200
        served.turn()
        assert not rejected.has_more()


def test_other_requests_of_an_http2_connection_go_on(served: Wire) -> None:
    """A rejection doesn't delay the other open requests of its HTTP/2 connection."""
    with Client(served) as client:
        client.send(block(1, head()) + block(3, FILE_HEAD) + frame(DATA, END_STREAM, 3, b"age\n"))
        assert client.answer(3)[0] == 429
        client.send(whole(5) + frame(DATA, END_STREAM, 1, b"{}"))
        assert client.answer(5)[0] == 200
        assert client.answer(1)[0] == 400


def test_a_large_http2_request_is_rejected_from_its_head(served: Wire) -> None:
    """An HTTP/2 request that doesn't fit in the queue gets 429 before its body."""
    with Client(served) as waiting, Client(served) as large:
        waiting.send(whole(1) + whole(3))
        large.send(block(1, LARGE_HEAD))
        assert large.answer(1)[0] == 429
        assert [waiting.answer(1)[0], waiting.answer(3)[0]] == [200, 200]
