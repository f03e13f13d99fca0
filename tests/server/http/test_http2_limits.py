"""Limits of one HTTP/2 client: header blocks, trailers and control frames. Other clients are unaffected."""

import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

from server.errors import ResourceExhausted
from server.http.http2_frames import MAX_BUDGET
from server.models.repository import Repository
from tests.server.support.frames import (
    ACK,
    BODY,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Client,
    block,
    field,
    fields,
    frame,
    head,
    integer,
    whole,
)
from tests.server.support.rpc import MODELS, PREDICT
from tests.server.support.wire import Wire, wire

ENHANCE_YOUR_CALM = 11
WORDS = "headers: expected at most 65536 bytes"
LARGE = {
    "one value": [(b"x-a", b"a" * 70_000)],
    "many values": [(b"x-%d" % number, b"a" * 1_000) for number in range(100)],
    "many fields": [(b"x-%d" % number, b"a") for number in range(3_000)],
    "one name": [(b"x" * 70_000, b"a")],
    "three times the limit": [(b"x-a", b"a" * 200_000)],
}
FORMS = {
    b"application/grpc": (200, b""),
    b"application/grpc-web+proto": (200, b"\x80"),
    b"application/proto": (429, b'"resource_exhausted"'),
    b"application/connect+json": (200, b'"resource_exhausted"'),
    b"text/plain": (413, b"headers: "),
}


@pytest.mark.parametrize("inserted", [False, True], ids=["literal", "inserted"])
@pytest.mark.parametrize("large", LARGE.values(), ids=LARGE)
def test_a_head_over_the_limit(served: Wire, large: list[tuple[bytes, bytes]], inserted: bool) -> None:
    """A header block above the limit gets 413; HPACK's dynamic table stays correct."""
    names = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/api/predict"), (b":authority", b"x"), *large]
    too_large = b"".join([field(*pair, inserted=inserted) for pair in names])
    kept = b"".join([field(name, value, inserted=True) for name, value in names[:4]])
    with Client(served) as client:
        client.send(block(1, kept) + block(3, too_large) + frame(DATA, END_STREAM, 1, BODY))
        status, body = client.answer(3)
        assert (status, json.loads(body)) == (413, {"error": WORDS, "code": "payload_too_large", "field": "headers"})
        assert client.answer(1)[0] == 200
        client.send(block(5, kept) + frame(DATA, END_STREAM, 5, BODY))
        client.send(block(7, bytes((0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62))) + frame(DATA, END_STREAM, 7, BODY))
        assert [client.answer(stream)[0] for stream in (5, 7)] == [200, 200]


def test_heads_in_the_table(served: Wire) -> None:
    """A header block above the limit still updates the dynamic table, inserts and evictions."""
    large = [field(b"x-%d" % (100 + number), b"a" * 1_000, inserted=True) for number in range(100)]
    with Client(served) as client:
        client.send(block(1, head() + b"".join([*large, field(b"x-last", b"b", inserted=True)]), END_STREAM))
        assert client.answer(1)[0] == 413
        kept = bytes(range(0x80 | 62, 0x80 | 66))  # the last field and three of the large ones
        client.send(block(3, head() + kept) + frame(DATA, END_STREAM, 3, BODY))
        assert client.answer(3)[0] == 200
        client.send(block(5, head() + bytes((0x80 | 66,)), END_STREAM))
        assert client.goaway() == 9


def test_entries_of_before(served: Wire) -> None:
    """A header block above the limit may refer to entries older than its own inserts."""
    kind = field(b"content-type", b"application/grpc", inserted=True)
    large = [field(b"x-%d" % number, b"a" * 1_000, inserted=True) for number in range(100)]
    with Client(served) as client:
        client.send(block(1, head(path=PREDICT.encode()) + kind) + frame(DATA, END_STREAM, 1, b""))
        client.answer(1)
        refers = b"".join([*large[:2], bytes((0x80 | 64,)), *large[2:]])
        client.send(block(3, head(path=PREDICT.encode()) + refers, END_STREAM))
        assert b"headers: expected at most" in client.trailers(3).replace(b"%20", b" ")


def test_references_to_a_large_field(served: Wire) -> None:
    """References to a table entry count with the size of the entry."""
    large = field(b"x", b"a" * 3_900, inserted=True)
    with Client(served) as client:
        client.send(block(1, head() + large + b"\xbe" * 15_000, END_STREAM) + whole(3))
        assert client.answer(1)[0] == 413
        assert client.answer(3)[0] == 200


def test_a_head_at_the_limit(served: Wire) -> None:
    """A header block within the limit is read in any pieces, with short Huffman codes."""
    zeros = b"\0\1x" + integer(37_500, 0x80, 7) + b"\0\0\0\0\0" * 7_500  # 60,000 zeros of five bits each
    slices = [head() + zeros, head((b"x", b"a" * 65_000))]
    with Client(served) as client:
        for stream, fragment in zip((1, 3), slices, strict=True):
            client.send(block(stream, fragment) + frame(DATA, END_STREAM, stream, BODY))
            assert client.answer(stream)[0] == 200
        pieces = [slices[0][at : at + 1_000] for at in range(0, len(slices[0]), 1_000)]
        client.send(frame(HEADERS, 0, 5) + b"".join([frame(CONTINUATION, 0, 5, piece) for piece in pieces]))
        client.send(frame(CONTINUATION, END_HEADERS, 5) + frame(DATA, END_STREAM, 5, BODY))
        assert client.answer(5)[0] == 200


@pytest.mark.parametrize(("kind", "expected"), FORMS.items(), ids=[kind.decode() for kind in FORMS])
def test_a_call_with_a_head_over_the_limit(served: Wire, kind: bytes, expected: tuple[int, bytes]) -> None:
    """An RPC with a header block above the limit gets RESOURCE_EXHAUSTED in its own protocol."""
    fragment = head((b"content-type", kind), (b"te", b"trailers"), (b"x-a", b"a" * 66_000), path=PREDICT.encode())
    with Client(served) as client:
        client.send(block(1, fragment) + frame(DATA, END_STREAM, 1, b"") + whole(3))
        status, body = client.answer(1)
        assert (status, body[: len(expected[1])] if kind.startswith(b"application/grpc") else expected[1]) == expected
        assert expected[1] in body
        text = body + client.trailers(1)
        assert WORDS.encode() in text or WORDS.replace(" ", "%20").encode() in text
        assert client.answer(3)[0] == 200


def test_a_lower_limit() -> None:
    """LIFEBOAT_MAX_HEADER_BYTES also limits header blocks that were decoded, and trailers."""
    with wire(Repository.load(MODELS), http2=True, max_header_bytes=1_000) as served, Client(served) as client:
        long = (b"x", b"a" * 1_000)
        client.send(block(1, head(long)) + frame(DATA, END_STREAM, 1, BODY))
        assert client.answer(1)[0] == 413
        for stream, path in ((3, b"/api/predict"), (5, b"/api/explain")):
            request = block(stream, head(path=path)) + frame(DATA, 0, stream, BODY)
            client.send(request + block(stream, fields(long), END_STREAM))
            status, body = client.answer(stream)
            assert (status, json.loads(body)["error"]) == (413, "trailers: expected at most 1000 bytes")
        client.send(whole(7))
        assert client.answer(7)[0] == 200


def test_trailers_over_the_limit(served: Wire) -> None:
    """Trailers have the same limit as headers."""
    with Client(served) as client:
        client.send(block(1, head()) + frame(DATA, 0, 1, BODY))
        client.send(block(1, fields((b"x", b"a" * 70_000)), END_STREAM) + whole(3))
        assert client.answer(1)[0] == 413
        assert client.answer(3)[0] == 200


def _toggled(number: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31 - 1 if number % 2 else 1))


FLOODS: dict[str, tuple[bytes, Callable[[int], bytes]]] = {
    "PING": (b"", lambda _: frame(PING, 0, 0, bytes(8))),
    "acknowledgements of PING": (b"", lambda _: frame(PING, ACK, 0, bytes(8))),
    "SETTINGS": (b"", lambda _: frame(SETTINGS, 0, 0)),
    "acknowledgements of SETTINGS": (b"", lambda _: frame(SETTINGS, ACK, 0)),
    "SETTINGS of many values": (b"", lambda _: frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 4096) * 2_700)),
    "windows": (b"".join([block(2 * number + 1, head()) for number in range(100)]), _toggled),
    "WINDOW_UPDATE": (b"", lambda _: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1))),
    "WINDOW_UPDATE of a stream": (block(1, head()), lambda _: frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1))),
    "empty DATA": (block(1, head()), lambda _: frame(DATA, 0, 1)),
    "padding": (block(1, head()), lambda _: frame(DATA, PADDED, 1, b"\x09" + bytes(9))),
    "DATA of a stream that was reset": (
        block(1, head()) + frame(RST_STREAM, 0, 1, bytes(4)),
        lambda _: frame(0, 0, 1, b"x"),
    ),
    "PRIORITY": (b"", lambda number: frame(PRIORITY, 0, 2 * number + 1, bytes(5))),
    "unknown frames": (b"", lambda _: frame(0x77, 0, 0, b"x" * 16_000)),
    "CONTINUATION": (frame(HEADERS, 0, 1, head()), lambda _: frame(CONTINUATION, 0, 1, field(b"x", b"y" * 1_000))),
    "empty CONTINUATION": (frame(HEADERS, 0, 1, head()), lambda _: frame(CONTINUATION, 0, 1)),
    "large heads": (b"", lambda number: block(2 * number + 1, head() + b"\x8f\0\1a\0" * 12_000, END_STREAM)),
    "streams": (b"", lambda number: block(2 * number + 1, head())),
    "resets": (b"", lambda number: block(2 * number + 1, head()) + frame(RST_STREAM, 0, 2 * number + 1, bytes(4))),
    "malformed heads": (b"", lambda number: block(2 * number + 1, b"", END_STREAM)),
}


@pytest.mark.parametrize(("before", "make"), FLOODS.values(), ids=FLOODS)
def test_frames_without_end(served: Wire, before: bytes, make: Callable[[int], bytes]) -> None:
    """A flood of useless frames ends its connection; others are served, and no bytes stay."""
    with Client(served) as other, Client(served) as client:
        client.send(before)
        for start in range(0, 20 * MAX_BUDGET, 500):
            if not client.send(b"".join([make(number) for number in range(start, start + 500)])):
                break
        assert client.goaway() == ENHANCE_YOUR_CALM
        other.send(whole(1))
        assert other.answer(1)[0] == 200
        client.until(lambda each: each.is_closed)
    served.turn()
    assert served.app.held.held == 0


def test_frames_of_a_long_connection(served: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Completed requests pay for the control frames that a client sends with them."""
    monkeypatch.setattr("server.http.http2_connection._INCOME_PER_SECOND", 0)
    beside = b"".join([frame(PING, 0, 0, bytes(8)), frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 99))] * 3)
    with Client(served) as client:
        for stream in range(1, 1_001, 2):
            client.send(whole(stream) + beside)
            assert client.answer(stream)[0] == 200
            client.frames.clear()


def test_a_client_that_reads_nothing() -> None:
    """The server stops reading a connection while its client doesn't read responses."""
    with wire(Repository.load(MODELS), http2=True) as served, Client(served) as client:
        protocol: Any = next(iter(served.state.connections))
        protocol.pause_writing()
        client.send(whole(1))
        served.turn()
        assert protocol.flow.read_paused
        protocol.resume_writing()
        assert client.answer(1)[0] == 200


def test_an_exception_ends_one_stream(served: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception resets its own stream; the connection's other requests get responses."""
    with Client(served) as client:
        client.send(block(1, head()))
        served.turn()
        with monkeypatch.context() as patch:
            patch.setattr("server.http.http2.Http2Protocol._begin", lambda *_: 1 // 0)
            client.send(whole(3))
            assert client.reset(3) == 2
        client.send(frame(DATA, END_STREAM, 1, BODY))
        assert client.answer(1)[0] == 200


def test_a_field_block_counts_as_held(served: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """An incomplete header block counts as held bytes."""
    with Client(served) as client:
        client.send(frame(HEADERS, 0, 1, head()) + frame(CONTINUATION, 0, 1, b"x" * 16_000))
        served.turn()
        assert served.app.held.held == 16_000

        def full(*_: object) -> None:
            raise ResourceExhausted("full")

        monkeypatch.setattr("server.http.held_bytes.HeldBytes.take", full)
        client.send(frame(CONTINUATION, 0, 1, b"x" * 16_000))
        assert client.goaway() == ENHANCE_YOUR_CALM
    served.turn()
    assert served.app.held.held == 0
