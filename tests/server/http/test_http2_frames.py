"""Frames that violate HTTP/2: each gets the stream or connection error that RFC 9113 requires."""

import json
import struct
from collections.abc import Iterator

import pytest

from tests.server.support.frames import (
    BODY,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Client,
    block,
    field,
    fields,
    frame,
    head,
    whole,
)
from tests.server.support.wire import Wire

NO_ERROR, PROTOCOL, FLOW_CONTROL, STREAM_CLOSED, FRAME_SIZE, COMPRESSION = 0, 1, 3, 5, 6, 9
OPEN = block(1, head())
GET = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/v2"))


def _setting(number: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", number, value))


def _widened(stream: int, *by: int) -> bytes:
    return b"".join([frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", each)) for each in by])


CONNECTION_ERRORS = {
    "an even stream": (block(2, head()), PROTOCOL),
    "HEADERS on stream 0": (block(0, head()), PROTOCOL),
    "DATA on stream 0": (frame(DATA, 0, 0, b"x"), PROTOCOL),
    "DATA on an idle stream": (frame(DATA, END_STREAM, 5, b"x"), PROTOCOL),
    "RST_STREAM on an idle stream": (frame(RST_STREAM, 0, 7, bytes(4)), PROTOCOL),
    "RST_STREAM on stream 0": (frame(RST_STREAM, 0, 0, bytes(4)), PROTOCOL),
    "RST_STREAM of 3 bytes": (OPEN + frame(RST_STREAM, 0, 1, bytes(3)), FRAME_SIZE),
    "WINDOW_UPDATE on an idle stream": (_widened(7, 1), PROTOCOL),
    "WINDOW_UPDATE of 3 bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE),
    "a stream before the last": (block(5, head(), END_STREAM) + block(3, head(), END_STREAM), PROTOCOL),
    "HEADERS on a stream that has ended": (whole(1) + block(1, head()), PROTOCOL),
    "PUSH_PROMISE": (frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4) + head()), PROTOCOL),
    "CONTINUATION first": (frame(CONTINUATION, END_HEADERS, 1, head()), PROTOCOL),
    "PING within a field block": (frame(HEADERS, 0, 1, head()) + frame(PING, 0, 0, bytes(8)), PROTOCOL),
    "CONTINUATION of another stream": (frame(HEADERS, 0, 1, head()) + frame(CONTINUATION, 4, 3, b""), PROTOCOL),
    "PING of 7 bytes": (frame(PING, 0, 0, bytes(7)), FRAME_SIZE),
    "PING on a stream": (OPEN + frame(PING, 0, 1, bytes(8)), PROTOCOL),
    "SETTINGS of 5 bytes": (frame(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE),
    "SETTINGS on a stream": (OPEN + frame(SETTINGS, 0, 1), PROTOCOL),
    "an acknowledgement with settings": (frame(SETTINGS, 1, 0, bytes(6)), FRAME_SIZE),
    "ENABLE_PUSH of 2": (_setting(2, 2), PROTOCOL),
    "a window of 2^31": (_setting(4, 2**31), FLOW_CONTROL),
    "MAX_FRAME_SIZE of 1": (_setting(5, 1), PROTOCOL),
    "MAX_FRAME_SIZE of 2^24": (_setting(5, 2**24), PROTOCOL),
    "a window that overflows": (_widened(0, 2**31 - 1, 2**31 - 1), FLOW_CONTROL),
    "a window not widened": (_widened(0, 0), PROTOCOL),
    "GOAWAY on a stream": (OPEN + frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "padding longer than DATA": (OPEN + frame(DATA, PADDED, 1, b"\xffab"), PROTOCOL),
    "padding longer than HEADERS": (frame(HEADERS, PADDED | END_HEADERS, 1, b"\xffab"), PROTOCOL),
    "HEADERS without their padding": (frame(HEADERS, PADDED, 1), FRAME_SIZE),
    "a frame larger than the limit": (OPEN + frame(DATA, 0, 1, b"x" * 16_385), FRAME_SIZE),
    "PRIORITY of 4 bytes": (frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE),
    "an index that there isn't": (block(1, head() + b"\xfe"), COMPRESSION),
    "an index of 0": (block(1, head() + b"\x80"), COMPRESSION),
    "an integer without end": (block(1, b"\xff" * 200), COMPRESSION),
    "a text that is cut off": (block(1, head() + b"\0\x7f\x01"), COMPRESSION),
    "a text that is cut off in a large block": (block(1, head() + b"\0\x7f" + b"\xff" * 40_000), COMPRESSION),
    "a table larger than the limit": (block(1, b"\x3f\xff\xff\xff\xff\x0f" + head()), COMPRESSION),
}
STREAM_ERRORS = {
    "no path": fields(*GET[:2]),
    "no method": fields(*GET[1:]),
    "no scheme": fields(GET[0], GET[2]),
    "an empty path": fields(*GET[:2], (b":path", b"")),
    "two paths": fields(*GET, (b":path", b"/v2")),
    "two methods": fields(GET[0], *GET),
    "an unknown pseudo-header": fields(*GET, (b":status", b"200")),
    "a pseudo-header after a header": fields((b"a", b"b"), *GET),
    "a name in upper case": fields(*GET, (b"Abc", b"d")),
    "a name with a space": fields(*GET, (b"a b", b"d")),
    "no name": fields(*GET, (b"", b"d")),
    "connection": fields(*GET, (b"connection", b"close")),
    "keep-alive": fields(*GET, (b"keep-alive", b"1")),
    "proxy-connection": fields(*GET, (b"proxy-connection", b"close")),
    "transfer-encoding": fields(*GET, (b"transfer-encoding", b"chunked")),
    "upgrade": fields(*GET, (b"upgrade", b"h2c")),
    "te gzip": fields(*GET, (b"te", b"gzip")),
    "a line break in a value": fields(*GET, (b"x", b"a\r\nb: c")),
    "a NUL in a value": fields(*GET, (b"x", b"a\0b")),
    "a line break in the path": fields(*GET[:2], (b":path", b"/v2\r\nx: y")),
    "a space in the method": fields((b":method", b"GET /x"), *GET[1:]),
    "CONNECT": fields((b":method", b"CONNECT"), (b":authority", b"x:1")),
    "two lengths": head((b"content-length", b"5"), (b"content-length", b"6")),
    "a length of 30 digits": head((b"content-length", b"9" * 30)),
    "a length of 5,000 digits": head((b"content-length", b"9" * 5_000)),
    "a length that is none": head((b"content-length", b"+5")),
    "hosts that differ": fields(*GET, (b":authority", b"a"), (b"host", b"b")),
    "two hosts": fields(*GET, (b"host", b"a"), (b"host", b"b")),
}
STREAM_ERRORS_LATER = {
    "a body shorter than its length": (block(1, head((b"content-length", b"500"))) + frame(0, 1, 1, BODY), PROTOCOL),
    "no body for a length": (block(1, head((b"content-length", b"5")), END_STREAM), PROTOCOL),
    "trailers that don't end the stream": (OPEN + block(1, fields((b"a", b"b"))), PROTOCOL),
    "a pseudo-header in trailers": (OPEN + block(1, fields((b":path", b"/")), END_STREAM), PROTOCOL),
    "a type in trailers": (OPEN + block(1, fields((b"content-type", b"text/csv")), END_STREAM), PROTOCOL),
    "a coding in trailers": (OPEN + block(1, fields((b"content-encoding", b"gzip")), END_STREAM), PROTOCOL),
    "a window not widened": (OPEN + _widened(1, 0), PROTOCOL),
    "a window that overflows": (OPEN + _widened(1, 2**31 - 1), FLOW_CONTROL),
    "DATA on a stream that was reset": (
        OPEN + frame(RST_STREAM, 0, 1, bytes(4)) + frame(DATA, 0, 1, b"x"),
        STREAM_CLOSED,
    ),
}
REJECTED = {
    "no host": (fields(*GET), 400),
    "an empty host": (fields(*GET, (b":authority", b"")), 400),
    "a length of many zeros": (head((b"content-length", b"0" * 5_000 + b"%d" % len(BODY))), 400),
    "a path that is not ASCII": (fields(*GET[:2], (b":path", b"/\xe9"), (b":authority", b"x")), 400),
    "a path without a slash": (fields(*GET[:2], (b":path", b"v2"), (b":authority", b"x")), 404),
    "*": (fields((b":method", b"OPTIONS"), GET[1], (b":path", b"*"), (b":authority", b"x")), 404),
}


@pytest.fixture(scope="module")
def beside(served: Wire) -> Iterator[Client]:
    """Yield a second connection, which must work whatever happens on other connections."""
    with Client(served) as client:
        yield client


@pytest.fixture(autouse=True)
def _goes_on(beside: Client) -> Iterator[None]:
    """After each test, check that the second connection still gets responses."""
    yield
    numbers = [0, *[each.stream for each in beside.frames]]
    stream = max(numbers) + 2 - (max(numbers) + 1) % 2
    beside.send(whole(stream))
    assert beside.answer(stream)[0] == 200


@pytest.mark.parametrize(("data", "code"), CONNECTION_ERRORS.values(), ids=CONNECTION_ERRORS)
def test_what_ends_the_connection(served: Wire, data: bytes, code: int) -> None:
    """A connection error sends GOAWAY with its error code and closes the connection."""
    with Client(served) as client:
        client.send(data)
        assert client.goaway() == code
        client.until(lambda each: each.is_closed)


@pytest.mark.parametrize("first", [b"", frame(PING, 0, 0, bytes(8)), b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"])
def test_what_is_not_settings_first(served: Wire, first: bytes) -> None:
    """A first frame other than SETTINGS is a connection error."""
    with Client(served, first=first or block(1, head())) as client:
        assert client.goaway() in {PROTOCOL, FRAME_SIZE}


@pytest.mark.parametrize("fragment", STREAM_ERRORS.values(), ids=STREAM_ERRORS)
def test_what_ends_the_stream(served: Wire, fragment: bytes) -> None:
    """A malformed request resets its stream; earlier and later requests on the connection get responses."""
    with Client(served) as client:
        client.send(block(1, head()) + block(3, fragment, END_STREAM) + whole(5) + frame(DATA, END_STREAM, 1, BODY))
        assert client.reset(3) == PROTOCOL
        assert [client.answer(stream)[0] for stream in (1, 5)] == [200, 200]


@pytest.mark.parametrize(("data", "code"), STREAM_ERRORS_LATER.values(), ids=STREAM_ERRORS_LATER)
def test_what_ends_a_stream_that_has_begun(served: Wire, data: bytes, code: int) -> None:
    """An error after the header block resets the stream with the right code."""
    with Client(served) as client:
        client.send(data + whole(9))
        assert client.reset(1) == code
        assert client.answer(9)[0] == 200


@pytest.mark.parametrize(("fragment", "status"), REJECTED.values(), ids=REJECTED)
def test_what_is_rejected(served: Wire, fragment: bytes, status: int) -> None:
    """A well-formed request that can't be served gets an error response; other requests are served."""
    with Client(served) as client:
        others = range(5, 25, 2)
        client.send(block(1, fragment) + b"".join([block(stream, head()) for stream in others]))
        client.send(b"".join([frame(DATA, END_STREAM, stream, BODY) for stream in (1, *others)]))
        assert client.answer(1)[0] == status
        assert {client.answer(stream)[0] for stream in others} == {200}
        assert json.loads(client.answer(1)[1])["code"] in {"invalid_argument", "not_found"}


def test_trailers_are_no_headers(served: Wire) -> None:
    """Trailers are ignored: a deadline or a token in them has no effect."""
    names = (b"x-request-timeout-ms", b"grpc-timeout", b"authorization", b"x-a")
    with Client(served) as client:
        trailers = fields(*[(name, b"0") for name in names])
        for stream, path in ((1, b"/api/predict"), (3, b"/api/explain")):
            request = block(stream, head(path=path)) + frame(DATA, 0, stream, BODY)
            client.send(request + block(stream, trailers, END_STREAM))
            assert client.answer(stream)[0] == 200


def test_harmless_frames(served: Wire) -> None:
    """Unknown frames, unknown flags, priorities and padding have no effect."""
    padded = frame(DATA, PADDED | END_STREAM, 1, b"\5" + BODY + bytes(5))
    with Client(served) as client:
        client.send(frame(0x77, 0xFF, 0, b"x" * 99) + frame(PRIORITY, 0, 1, bytes(5)))
        client.send(frame(HEADERS, END_HEADERS | PADDED | 0x20, 1, b"\3" + bytes(5) + head() + bytes(3)) + padded)
        assert client.answer(1)[0] == 200
        piece = head()
        client.send(frame(HEADERS, 0, 3, piece[:9]) + frame(CONTINUATION, 0, 3, piece[9:20]))
        client.send(frame(CONTINUATION, END_HEADERS, 3, piece[20:]) + frame(DATA, END_STREAM, 3, BODY))
        assert client.answer(3)[0] == 200


def test_bytes_one_by_one(served: Wire) -> None:
    """Frames are read correctly when they arrive one byte at a time."""
    with Client(served) as client:
        for byte in whole(1) + block(3, head() + field(b"x", b"y" * 300)) + frame(DATA, END_STREAM, 3, BODY):
            client.send(bytes((byte,)))
        assert [client.answer(stream)[0] for stream in (1, 3)] == [200, 200]


def test_no_connect_is_offered(served: Wire) -> None:
    """SETTINGS states the header list limit (RFC 9113, 6.5.2) and doesn't enable extended CONNECT."""
    with Client(served) as client:
        [first] = client.until(lambda each: bool(each.of(SETTINGS))).of(SETTINGS)[:1]
    values = dict(struct.iter_unpack(">HI", first.payload))
    assert values[6] == 65_536
    assert 8 not in values
