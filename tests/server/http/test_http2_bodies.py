"""Incomplete HTTP/2 bodies: limits of bytes and of time; and responses that clients don't read."""

import json
from collections.abc import Iterator

import pytest

from server.models.repository import Repository
from server.rpc.proto import reflection_pb2
from tests.server.support.frames import BODY, DATA, END_STREAM, HEADERS, RST_STREAM, Client, block, frame, head, whole
from tests.server.support.rpc import MODELS, PREDICT, enveloped
from tests.server.support.wire import TURNS, Wire, wire

SIZE = 15_000
LARGE = BODY.ljust(SIZE)
MAX_HELD_BYTES = 5 * SIZE
REFLECT = b"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
GRPC = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
PATHS: dict[str, tuple[bytes, tuple[tuple[bytes, bytes], ...]]] = {
    "fast path": (b"/api/predict", ()),
    "uvicorn": (b"/api/predict", ((b"content-type", b"application/json; charset=utf-8"),)),
    "explain": (b"/api/explain", ()),
    "gRPC": (PREDICT.encode(), GRPC),
    "large gRPC": (PREDICT.encode(), (*GRPC, (b"grpc-encoding", b"identity"))),
}
ENDS = {
    "answered": lambda stream: frame(DATA, END_STREAM, stream),
    "reset": lambda stream: frame(RST_STREAM, 0, stream, bytes(4)),
    "malformed": lambda stream: block(stream, head()),
}


@pytest.fixture(scope="module")
def narrow() -> Iterator[Wire]:
    """Serve with a low limit on held bytes."""
    with wire(Repository.load(MODELS), http2=True, max_held_bytes=MAX_HELD_BYTES) as opened:
        yield opened


def _until_dropped(served: Wire) -> None:
    for _ in range(100 * TURNS):
        if not served.app.held.held:
            return
        served.turn()
    raise AssertionError(served.app.held.held)


def _begun(stream: int, name: str) -> bytes:
    path, kind = PATHS[name]
    return block(stream, head(*kind, path=path)) + frame(DATA, 0, stream, LARGE)


def _rejected(client: Client, streams: list[int], text: bytes) -> list[int]:
    """Return the streams that have a response; each response must contain `text`."""
    return [stream for stream in streams if client.of(HEADERS, stream) and _holds(client, stream, text)]


def _holds(client: Client, stream: int, text: bytes) -> bool:
    found = client.answer(stream)[1] + client.trailers(stream)
    assert text in found, found
    return True


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("name", PATHS)
def test_bodies_over_the_limit(narrow: Wire, name: str, end: object) -> None:
    """Streams above the held bytes limit get 429; others continue, and all bytes are released."""
    assert callable(end)
    streams = list(range(1, 17, 2))
    with Client(narrow) as client:
        client.send(b"".join([_begun(stream, name) for stream in streams]))
        narrow.turn()
        assert 0 < narrow.app.held.held <= MAX_HELD_BYTES
        text = b"grpc-status" if "gRPC" in name else b'"resource_exhausted"'
        client.until(lambda each: len([1 for stream in streams if each.of(HEADERS, stream)]) >= 3)
        rejected = _rejected(client, streams, text)
        assert len(rejected) == 3
        if end is not ENDS["malformed"]:
            client.send(b"".join([end(stream) for stream in streams if stream not in rejected]))
            _until_dropped(narrow)
            client.send(whole(101))
            assert client.answer(101)[0] == 200
        else:
            client.send(end(1))
    _until_dropped(narrow)


def test_bodies_of_lost_connections(narrow: Wire) -> None:
    """Held bytes are released when the connection is lost."""
    with Client(narrow) as client:
        client.send(b"".join([_begun(2 * number + 1, name) for number, name in enumerate(PATHS)]))
        narrow.turn()
        assert narrow.app.held.held
    _until_dropped(narrow)


@pytest.mark.parametrize("name", PATHS)
def test_a_body_that_takes_too_long(name: str) -> None:
    """A request that is incomplete after the body timeout is rejected; the connection stays usable."""
    with wire(Repository.load(MODELS), http2=True, body_timeout_s=1) as hasty, Client(hasty) as client:
        client.send(_begun(1, name))
        status, body = client.answer(1)
        if "gRPC" in name:
            assert b"grpc-status" in client.trailers(1)
            assert b"expected its head and body within 1 s" in client.trailers(1).replace(b"%20", b" ")
        else:
            assert (status, json.loads(body)["code"]) == (408, "deadline_exceeded")
        client.send(whole(3))
        assert client.answer(3)[0] == 200
        assert hasty.app.held.held == 0


def test_a_head_that_takes_too_long() -> None:
    """An incomplete header block, frame or connection preface ends the connection after the timeout."""
    with wire(Repository.load(MODELS), http2=True, body_timeout_s=1) as hasty:
        parts = [frame(HEADERS, 0, 1, head()), block(1, head())[:12]]
        clients = [Client(hasty, b"") for _ in parts]
        silent = hasty.connect()
        silent.sendall(b"PRI * HTTP/2.0\r\n")
        for client, part in zip(clients, parts, strict=True):
            client.send(part)
        for client in clients:
            assert client.goaway() == 11
        assert hasty.during(lambda: silent.recv(1)) == b""
        silent.close()
        for client in clients:
            client.__exit__()


def test_a_stream_lasts() -> None:
    """In a stream the body timeout applies to each message, not to the stream."""
    message = enveloped(reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString())
    with wire(Repository.load(MODELS), http2=True, body_timeout_s=1) as hasty, Client(hasty) as client:
        client.send(block(1, head(*GRPC, path=REFLECT)) + frame(DATA, 0, 1, message) + block(3, head()))
        assert client.answer(3)[0] == 408
        client.until(lambda each: bool(each.of(DATA, 1)))
        count = len(client.of(DATA, 1))
        client.send(frame(DATA, 0, 1, message))
        client.until(lambda each: len(each.of(DATA, 1)) > count)
        client.send(frame(DATA, 0, 1, message[:3]))
        assert b"grpc-status" in client.trailers(1)


def test_an_answer_that_is_not_read() -> None:
    """A connection closes if its client leaves the flow-control window shut while data waits."""
    with wire(Repository.load(MODELS), http2=True, max_idle_s=1, body_timeout_s=1) as hasty:
        with Client(hasty, b"\0\4\0\0\0\0") as client:
            client.send(block(1, head(path=b"/api/openapi.json", method=b"GET"), END_STREAM))
            client.until(lambda each: each.is_closed)
        assert not [each for each in hasty.state.connections if hasattr(each, "frames")]
