"""Raw HTTP/1.1: send the given bytes unchanged, read responses with every header in order."""

import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from tests.recorded import normalise
from tests.recorded.exchange import TIMEOUT_S, Address, Json

Fields = Iterable[tuple[str, str]]


def request(method: str, target: str, body: bytes | None = None, fields: Fields = ()) -> bytes:
    """Return a request. A body's length is stated unless `fields` have a transfer-encoding."""
    given = [*fields]
    lines = [f"{method} {target} HTTP/1.1", "host: recorded", *(f"{name}: {value}" for name, value in given)]
    if body is not None and "transfer-encoding" not in dict(given):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(body: bytes, size: int = 1000, trailers: bytes = b"", extension: bytes = b"") -> bytes:
    """Return a chunked body."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(each), extension, each) for each in pieces) + b"0\r\n%b\r\n" % trailers


@dataclass(frozen=True, slots=True)
class Http1:
    """Bytes on their own connection, and the responses to them.

    Before each part of `sent` except the first, the case waits for an interim response.
    """

    name: str
    interface: str
    sent: tuple[bytes, ...]
    server: str = "plain"
    responses: int = 1
    """Number of final responses to read; fewer are read if the server closes the connection."""
    is_broken_off: bool = False
    """True if the server aborts the response.

    Its middle lines are left out because their number varies.
    """

    @property
    def request(self) -> str:
        """Method and path of the first request."""
        method = self.sent[0].partition(b" ")[0].decode("latin-1")
        return f"{method} {self._target().partition('?')[0]}"[:120]

    def respond(self, address: Address) -> Json:
        """Send the bytes, and return the responses."""
        connection = socket.create_connection((address.host, address.port), TIMEOUT_S)
        with connection, connection.makefile("rb") as file:
            found: list[Json] = []
            for part in self.sent[:-1]:
                connection.sendall(part)
                found.append(self._response(file))
            with suppress(ConnectionError):  # the server may reject a request before all of it is sent
                connection.sendall(self.sent[-1])
            return found + self._final(file)

    def _final(self, file: IO[bytes]) -> list[Json]:
        found: list[Json] = []
        count = 0
        while count < self.responses:
            response = self._response(file)
            if response is None:
                return [*found, "closed"]
            found.append(response)
            count += not str(response["status"]).startswith("HTTP/1.1 1")
        return found

    def _response(self, file: IO[bytes]) -> "dict[str, Json] | None":
        status = _line(file)
        if not status:
            return None
        fields = []
        while line := _line(file).rstrip("\r\n"):
            name, _, value = line.partition(":")
            fields.append((name, value.strip()))
        target = self._target()
        found: dict[str, Json] = {"status": status.rstrip("\r\n"), "headers": normalise.headers(fields, target)}
        known = {name.lower(): value for name, value in fields}
        if status[9:10] == "1" or status[9:12] in {"204", "304"} or self.sent[0].startswith(b"HEAD "):
            return found
        content, trailers, is_whole = _content(file, known)
        found["body"] = normalise.body(normalise.outer_lines(content) if self.is_broken_off else content, target)
        if trailers:
            found["trailers"] = normalise.headers(trailers)
        if not is_whole:
            found["broken off"] = True
        return found

    def _target(self) -> str:
        """Return the target of the first request, or "" if the bytes are no request."""
        words = self.sent[0].split(b" ", 2)
        return words[1].decode("latin-1") if len(words) > 1 else ""


def _line(file: IO[bytes]) -> str:
    try:
        return file.readline().decode("latin-1")
    except ConnectionResetError:
        return ""


def _content(file: IO[bytes], known: dict[str, str]) -> tuple[bytes, list[tuple[str, str]], bool]:
    """Return a body, its trailers, and whether it is complete."""
    if known.get("transfer-encoding") == "chunked":
        return _chunks(file)
    if "content-length" not in known:
        return file.read(), [], True
    length = int(known["content-length"])
    content = file.read(length)
    return content, [], len(content) == length


def _chunks(file: IO[bytes]) -> tuple[bytes, list[tuple[str, str]], bool]:
    content = b""
    while size := _line(file):
        length = int(size, 16)
        if not length:
            trailers = []
            while line := _line(file).rstrip("\r\n"):
                name, _, value = line.partition(":")
                trailers.append((name, value.strip()))
            return content, trailers, True
        piece = file.read(length + 2)
        content += piece[:length]
        if len(piece) < length + 2:
            break
    return content, [], False
