"""HTTP/2 client that sends single frames, also invalid ones (RFC 9113)."""

import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from tests.passenger import PASSENGER
from tests.server.support.process import HUNG_S
from tests.server.support.rpc import Served

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
BODY: Final = json.dumps(PASSENGER).encode()
_STATUS: Final = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
"""Status entries of HPACK's static table (RFC 7541, appendix A)."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return the bytes of a frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def integer(value: int, pattern: int, bits: int) -> bytes:
    """Return an HPACK integer (RFC 7541, 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((pattern | value,))
    encoded, value = [pattern | most], value - most
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes((*encoded, value))


def field(name: bytes, value: bytes, *, inserted: bool = False) -> bytes:
    """Return a literal field; `inserted` adds it to the dynamic table."""
    texts = [integer(len(text), 0, 7) + text for text in (name, value)]
    return (b"\x40" if inserted else b"\0") + b"".join(texts)


def fields(*pairs: tuple[bytes, bytes]) -> bytes:
    """Return a field block of literal fields."""
    return b"".join([field(name, value) for name, value in pairs])


def head(*extra: tuple[bytes, bytes], path: bytes = b"/api/predict", method: bytes = b"POST") -> bytes:
    """Return the field block of a request."""
    pseudo = ((b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"x"))
    return fields(*pseudo, *extra)


def block(stream: int, fragment: bytes, flags: int = 0) -> bytes:
    """Return the HEADERS and CONTINUATION frames of a field block."""
    pieces = [fragment[at : at + 16_384] for at in range(0, len(fragment), 16_384)] or [b""]
    frames = []
    for number, piece in enumerate(pieces):
        ends = END_HEADERS if number == len(pieces) - 1 else 0
        kind, more = (CONTINUATION, 0) if number else (HEADERS, flags)
        frames.append(frame(kind, ends | more, stream, piece))
    return b"".join(frames)


def whole(stream: int, *extra: tuple[bytes, bytes]) -> bytes:
    """Return the frames of one complete prediction request."""
    return block(stream, head(*extra)) + frame(DATA, END_STREAM, stream, BODY)


@dataclass(frozen=True)
class Frame:
    """A frame that the client received."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class Client:
    """One HTTP/2 connection to a server. It sends the preface and SETTINGS on creation."""

    def __init__(self, served: Served, settings: bytes = b"", first: bytes | None = None) -> None:
        """Connect. `first` replaces the SETTINGS frame."""
        self._served = served
        self._socket = served.connect()
        self._socket.settimeout(HUNG_S)
        self._rest = b""
        self.frames: list[Frame] = []
        self.is_closed = False
        self.send(PREFACE + (frame(SETTINGS, 0, 0, settings) if first is None else first))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_of: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> bool:
        """Send bytes. Returns False if the server has closed the connection."""
        return bool(self._served.during(lambda: self._sent(data)))

    def _sent(self, data: bytes) -> bool:
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def until(self, arrived: Callable[[Self], bool]) -> Self:
        """Read until `arrived` is true; fail if the connection closes first."""
        self._served.during(lambda: self._read_until(arrived))
        assert arrived(self), self.frames
        return self

    def _read_until(self, arrived: Callable[[Self], bool]) -> None:
        while not arrived(self) and not self.is_closed:
            try:
                data = self._socket.recv(65_536)
            except ConnectionResetError:
                data = b""
            self.is_closed = not data
            self._take(data)

    def has_more(self) -> bool:
        """Return True if unread bytes have arrived."""
        self._socket.setblocking(False)
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        finally:
            self._socket.settimeout(HUNG_S)

    def _take(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= 9 and len(self._rest) >= (end := 9 + int.from_bytes(self._rest[:3], "big")):
            kind, flags, stream = struct.unpack_from(">BBI", self._rest, 3)
            self.frames.append(Frame(kind, flags, stream, self._rest[9:end]))
            self._rest = self._rest[end:]

    def of(self, kind: int, stream: int = 0) -> list[Frame]:
        """Return the received frames of a kind on a stream."""
        return [each for each in self.frames if (each.kind, each.stream) == (kind, stream)]

    def goaway(self) -> int:
        """Read until the server sends GOAWAY, and return its error code."""
        last = self.until(lambda client: bool(client.of(GOAWAY))).of(GOAWAY)[-1]
        return int.from_bytes(last.payload[4:8], "big")

    def reset(self, stream: int) -> int:
        """Read until the server resets the stream, and return the error code."""
        first = self.until(lambda client: bool(client.of(RST_STREAM, stream))).of(RST_STREAM, stream)[0]
        return int.from_bytes(first.payload, "big")

    def answer(self, stream: int) -> tuple[int, bytes]:
        """Read until a stream has its complete response, and return its status and body."""
        self.until(
            lambda client: any(each.flags & END_STREAM for each in client.of(DATA, stream) + client.of(HEADERS, stream))
        )
        first = self.of(HEADERS, stream)[0].payload
        status = _STATUS[first[0] & 127] if first[0] & 128 else int(first[2:5])
        return status, b"".join([each.payload for each in self.of(DATA, stream)])

    def trailers(self, stream: int) -> bytes:
        """Return the encoded last field block of a stream after its end."""
        self.answer(stream)
        return self.of(HEADERS, stream)[-1].payload
