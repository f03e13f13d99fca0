"""HTTP/2 with prior knowledge: requests by a client library, and raw frames."""

import base64
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import zttp

from tests.recorded import normalise
from tests.recorded.exchange import TIMEOUT_S, Address, Json

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _GOAWAY, _WINDOW_UPDATE = 0, 1, 7, 8
_FRAME: Final = struct.Struct(">BBI")
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Http2:
    """One request on its own connection."""

    name: str
    interface: str
    path: str
    body: bytes | None = None
    fields: Pairs = ()
    method: str = "POST"
    trailers: Pairs = ()
    server: str = "http2"
    is_broken_off: bool = False
    """True if the response ends with a reset.

    Its middle lines are left out because their number varies.
    """
    is_endless: bool = False
    """True if the response has no end; only its first bytes are read."""

    @property
    def request(self) -> str:
        """Method and path of the request."""
        return f"{self.method} {self.path}"

    def respond(self, address: Address) -> Json:
        """Send the request, and return its response."""
        connection: Any = zttp.Connection(zttp.CLIENT, zttp.HTTP2)
        connection.initiate_connection()
        stream = connection.send_request(
            self.method.encode(), self.path.encode(), b"2", [(b"host", b"recorded"), *_encoded(self.fields)]
        )
        if self.body is not None:
            stream.send_data(self.body)
        stream.end_message(_encoded(self.trailers) or None)
        received = _Received(self.path, self.is_broken_off)
        with socket.create_connection((address.host, address.port), TIMEOUT_S) as sock:
            while not self._has_ended(received):
                sock.sendall(connection.data_to_send())
                data = sock.recv(65_536)
                if not data:
                    received.ends.append("closed")
                    break
                connection.receive_data(data)
                while (event := connection.next_event()) is not zttp.NEED_DATA:
                    received.take(event)
        return received.as_json()

    def _has_ended(self, received: "_Received") -> bool:
        return bool(received.ends) or (self.is_endless and bool(received.content))


def _encoded(pairs: Pairs) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in pairs]


def _decoded(pairs: Any) -> list[tuple[str, str]]:  # noqa: ANN401 # either of the library's two header types
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]


@dataclass(slots=True)
class _Received:
    """The parts of one response received so far."""

    path: str
    is_broken_off: bool
    head: list[Json] = field(default_factory=list)
    content: bytes = b""
    trailers: list[Json] = field(default_factory=list)
    ends: list[Json] = field(default_factory=list)

    def take(self, event: object) -> None:
        """Add the content of an event."""
        if isinstance(event, zttp.Response):
            self.head.append(
                {"status": event.status_code, "headers": normalise.headers(_decoded(event.headers), self.path)}
            )
        elif isinstance(event, zttp.Data):
            self.content += event.data
        elif isinstance(event, zttp.EndOfMessage):
            self.trailers = normalise.headers(_decoded(event.trailers))
            self.ends.append("whole")
        elif isinstance(event, zttp.RstStream):
            self.ends.append(f"reset {event.error_code}")
        elif isinstance(event, zttp.GoAway):
            self.ends.append(f"goaway {event.error_code}")

    def as_json(self) -> Json:
        """Return the response in the format of a recording."""
        return [
            *self.head,
            {"body": normalise.body(self._content(), self.path), "trailers": self.trailers, "end": self.ends},
        ]

    def _content(self) -> bytes:
        return normalise.outer_lines(self.content) if self.is_broken_off else self.content


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + _FRAME.pack(kind, flags, stream) + payload


def field_block(*pairs: tuple[bytes, bytes]) -> bytes:
    """Return headers as literals without indexing (RFC 7541, section 6.2.2).

    Each name and value has less than 127 bytes.
    """
    return b"".join(b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value for name, value in pairs)


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames on their own connection, and the frames received until it closes.

    Repeated equal frames count once.
    """

    name: str
    sent: bytes
    interface: str = "http2"
    server: str = "http2"
    last: int = _GOAWAY
    """Frame type after which reading stops."""

    @property
    def request(self) -> str:
        """Name for the frames, because they are no complete request."""
        return "frames"

    def respond(self, address: Address) -> Json:
        """Send the frames. Returns the received frames, without the content of responses."""
        found: list[Json] = []
        sock = socket.create_connection((address.host, address.port), TIMEOUT_S)
        with sock, suppress(ConnectionError), sock.makefile("rb") as file:
            sock.sendall(self.sent)
            while len(head := file.read(9)) == 9:
                kind, flags, stream = _FRAME.unpack_from(head, 3)
                payload = file.read(int.from_bytes(head[:3], "big"))
                is_hidden = kind in {_DATA, _HEADERS}  # headers include a date
                shown: list[Json] = [kind, flags, stream, "" if is_hidden else base64.b64encode(payload).decode()]
                if kind != _WINDOW_UPDATE and found[-1:] != [shown]:
                    found.append(shown)
                if kind == self.last:
                    break
        return found
