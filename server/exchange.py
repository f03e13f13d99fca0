"""A request that goes the short way, and its answer's bytes."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Final, Protocol, Self

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from server.errors import DeadlineExceeded
from server.hot import Prediction
from server.replies import JSON, Body, Headers
from server.responses import envelope, failure

_JSON_REST: Final = b"content-type: " + JSON.encode() + b"\r\ncontent-length: %d\r\n\r\n%b"
_REST: Final = b"content-type: %b\r\ncontent-length: %d\r\n\r\n%b"
"""The last headers of an answer, and its body."""


class Connection(Protocol):
    """What an exchange needs of the connection that it came by."""

    loop: asyncio.AbstractEventLoop
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


class Exchange(ABC):
    """One request that goes the short way, and its answer. To uvicorn's protocol it looks like a cycle of its own."""

    __slots__ = (
        "deadline_s",
        "disconnected",
        "head",
        "headers",
        "late",
        "loop",
        "outlasts",
        "prediction",
        "response_complete",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        prediction: Prediction | None,
        headers: Headers,
        head: Any = None,  # noqa: ANN401
    ) -> None:
        """Have `prediction` answer what comes behind these headers, which are `head` to it; None: they are refused."""
        self.loop = loop
        self.prediction = prediction
        self.head = head
        self.headers = headers
        self.response_complete = False
        self.disconnected = False
        self.outlasts: asyncio.Future[None] | None = None
        self.late: asyncio.TimerHandle | None = None
        timeout_s = None if prediction is None else prediction.timeout_s(head)
        if timeout_s is not None:
            self.deadline_s = loop.time() + timeout_s
            self.late = loop.call_later(timeout_s, self._expire)

    @property
    def message_event(self) -> Self:
        """What uvicorn's protocol sets when something has happened to the request."""
        return self

    @abstractmethod
    def set(self) -> None:
        """Look at what has happened."""

    def submit(self, body: bytes) -> None:
        """Have the request, whose body is whole, answered."""
        timeout_s = None
        if self.late is not None:  # from now on the queue looks after it
            self.late.cancel()
            timeout_s = max(0.0, self.deadline_s - self.loop.time())
        try:
            if self.prediction is not None:
                self.prediction.submit(self.head, body, self, timeout_s)
        except Exception as error:  # noqa: BLE001 # each is answered, foreseen or not
            self.deliver(error)

    @abstractmethod
    def left(self) -> bool:
        """Return whether nobody waits: it was answered, or the caller is gone."""

    def deliver(self, answer: Body | Exception) -> None:
        """Write the answer, head and body at once. Only the first one counts."""
        if self.response_complete:
            return
        left = self.left()
        self.end()
        if left:
            return
        if isinstance(answer, Exception):
            error = failure(answer, self.headers)
            answer = envelope(error) if self.prediction is None else self.prediction.refuse(error, self.headers)
        self.write(answer)

    def end(self) -> None:
        """Have nothing more written: it was answered, or is not to be."""
        self.response_complete = True
        if self.late is not None:
            self.late.cancel()
        if self.outlasts is not None and not self.outlasts.done():
            self.outlasts.set_result(None)

    def _expire(self) -> None:
        """Tell a caller whose time is over before its request is whole."""
        late = DeadlineExceeded("the deadline passed before the request was whole")
        if self.prediction is not None:
            self.prediction.fail(late, self.head)
        self.keep_no_more()
        self.deliver(late)

    @abstractmethod
    def keep_no_more(self) -> None:
        """Let the answer be the connection's last, where what is left of the request would follow it."""

    @abstractmethod
    def write(self, answer: Body) -> None:
        """Write an answer, and go on with the next request."""

    async def outlast(self) -> None:
        """Wait for the answer while the server drains; uvicorn cancels this when the time for that is up."""
        if self.response_complete:
            return
        self.outlasts = asyncio.get_running_loop().create_future()
        try:
            await self.outlasts
        except asyncio.CancelledError as error:
            self.deliver(failure(error, self.headers))


class Http1Exchange(Exchange):
    """The one request that a connection of HTTP/1.1 is at."""

    __slots__ = ("chunks", "connection", "keep_alive", "length")

    def __init__(
        self,
        connection: Connection,
        prediction: Prediction | None,
        headers: Headers,
        head: Any = None,  # noqa: ANN401
        *,
        keep_alive: bool,
    ) -> None:
        """Answer what `connection` receives from now on."""
        super().__init__(connection.loop, prediction, headers, head)
        self.connection = connection
        self.keep_alive = keep_alive
        self.chunks: list[bytes] = []
        self.length = 0

    def set(self) -> None:
        """Do nothing: the connection is lost, which `left` sees by itself."""

    def keep_no_more(self) -> None:
        """Close the connection behind the answer: what is left of the request is never read."""
        self.keep_alive = False

    def body(self) -> bytes:
        """Return what was read of the body, and hold it no longer."""
        chunks, self.chunks = self.chunks, []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def left(self) -> bool:
        """Return whether it was answered, or the connection is closed or closing."""
        return self.response_complete or self.connection.transport.is_closing()

    def write(self, answer: Body) -> None:
        """Write an answer, and go on with the connection's next request."""
        connection = self.connection
        connection.transport.write(self._bytes(answer))
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()

    def _bytes(self, answer: Body) -> bytes:
        state = self.connection.server_state
        if isinstance(answer, bytes) or answer.status == 200:
            first = self.connection.heads.ok(state)
        else:
            first = head(answer.status, state.default_headers)
        if not self.keep_alive:
            first += b"connection: close\r\n"
        return first + rest(answer)


def rest(body: Body) -> bytes:
    """Return what follows the status line and the headers that every answer has."""
    if isinstance(body, bytes):
        return _JSON_REST % (len(body), body)
    fields = _fields(body.headers) if body.headers else b""
    return fields + _REST % (body.media_type.encode(), len(body.body), body.body)


def head(status: int, headers: Headers) -> bytes:
    """Return a status line and headers."""
    return STATUS_LINE[status] + _fields(headers)


def _fields(headers: Headers) -> bytes:
    return b"".join([name + b": " + value + b"\r\n" for name, value in headers])
