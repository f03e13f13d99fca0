"""A request that goes the short way, and its answer's bytes."""

import asyncio
from typing import Final, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from server.endpoints.hot import Headers, Prediction
from server.endpoints.responses import failure
from server.replies import JSON, Body

_JSON_REST: Final = b"content-type: " + JSON.encode() + b"\r\ncontent-length: %d\r\n\r\n%b"
_REST: Final = b"content-type: %b\r\ncontent-length: %d\r\n\r\n%b"
"""The last headers of an answer, and its body."""


class Connection(Protocol):
    """What an exchange needs of the connection that it came by."""

    transport: asyncio.Transport
    server_state: ServerState
    heads: "Heads"

    def on_response_complete(self) -> None:
        """Go on with the next request."""


class Heads:
    """The first bytes of every answer, made again only when uvicorn's own headers change: the date, each second."""

    def __init__(self) -> None:
        """Begin with none made."""
        self._of: list[tuple[bytes, bytes]] | None = None
        self._ok = b""

    def ok(self, state: ServerState) -> bytes:
        """Return the status line of 200 and uvicorn's own headers."""
        if self._of is not state.default_headers:
            self._of = state.default_headers
            self._ok = head(200, self._of)
        return self._ok


class Exchange:
    """One request that goes the short way, and its answer. To uvicorn's protocol it looks like a cycle of its own."""

    __slots__ = (
        "chunks",
        "connection",
        "disconnected",
        "headers",
        "keep_alive",
        "length",
        "outlasts",
        "response_complete",
    )

    def __init__(self, connection: Connection, headers: Headers, *, keep_alive: bool) -> None:
        """Answer what `connection` receives from now on."""
        self.connection = connection
        self.headers = headers
        self.keep_alive = keep_alive
        self.chunks: list[bytes] = []
        self.length = 0
        self.response_complete = False
        self.disconnected = False
        self.outlasts: asyncio.Future[None] | None = None

    @property
    def message_event(self) -> "Exchange":
        """What uvicorn's protocol sets when the connection is lost: here nobody waits for it."""
        return self

    def set(self) -> None:
        """Tell nobody."""

    def body(self) -> bytes:
        """Return what was read of the body, and hold it no longer."""
        chunks, self.chunks = self.chunks, []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def submit(self, prediction: Prediction) -> None:
        """Have the request, whose body is whole, answered by `prediction`."""
        try:
            prediction.submit(self.headers, self.body(), self)
        except Exception as error:  # noqa: BLE001 # each is answered, foreseen or not
            self.deliver(error)

    def left(self) -> bool:
        """Return whether nobody waits: it was answered, or the connection is closed or closing."""
        return self.response_complete or self.connection.transport.is_closing()

    def deliver(self, answer: Body | Exception) -> None:
        """Write the answer, head and body at once. Only the first one counts."""
        if self.response_complete:
            return
        self.response_complete = True
        if self.outlasts is not None and not self.outlasts.done():
            self.outlasts.set_result(None)
        connection = self.connection
        if connection.transport.is_closing():
            return
        if isinstance(answer, Exception):
            first, last = self._error(answer)
        else:
            first, last = connection.heads.ok(connection.server_state), rest(answer)
        if not self.keep_alive:
            first += b"connection: close\r\n"
        connection.transport.write(first + last)
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()

    async def outlast(self) -> None:
        """Wait for the answer while the server drains; uvicorn cancels this when the time for that is up."""
        self.outlasts = asyncio.get_running_loop().create_future()
        try:
            await self.outlasts
        except asyncio.CancelledError as error:
            self.deliver(failure(error, self.headers))

    def _error(self, error: Exception) -> tuple[bytes, bytes]:
        told = failure(error, self.headers)
        own = [(name.encode(), value.encode()) for name, value in told.headers.items()]
        return head(told.status, [*self.connection.server_state.default_headers, *own]), rest(told.envelope())


def rest(body: Body) -> bytes:
    """Return what follows the status line and the headers that every answer has."""
    if isinstance(body, bytes):
        return _JSON_REST % (len(body), body)
    return _fields(body.headers) + _REST % (body.media_type.encode(), len(body.body), body.body)


def head(status: int, headers: Headers) -> bytes:
    """Return a status line and headers."""
    return STATUS_LINE[status] + _fields(headers)


def _fields(headers: Headers) -> bytes:
    return b"".join([name + b": " + value + b"\r\n" for name, value in headers])
