"""A request on the fast path, and the bytes of its response."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, Self

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from server.errors import DeadlineExceeded, RequestError
from server.http.handler import FastPathHandler
from server.http.held_bytes import HeldBody, HeldBytes
from server.http.lifecycle import Draining
from server.http.message import JSON, Body, Headers, HttpResponse
from server.http.rejection_pace import RejectionPace
from server.http.request_turns import RequestTurns
from server.http.responses import envelope, failure
from server.inference.statistics import RunInfo
from server.settings import Settings

_MAX_CHUNKS: Final = 64
"""Maximum number of separate body chunks; more are joined."""
_JSON_REST: Final = b"content-type: " + JSON.encode() + b"\r\ncontent-length: %d\r\n\r\n%b"
_REST: Final = b"content-type: %b\r\ncontent-length: %d\r\n\r\n%b"
"""The last headers of a response, and its body."""


class Connection(Protocol):
    """Interface that an exchange needs from its connection."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    server_state: ServerState
    heads: "StatusLineCache"

    def on_response_complete(self) -> None:
        """Continue with the next request."""

    def close(self) -> None:
        """Close the connection after the last response."""

    def reject(self, error: RequestError) -> None:
        """Respond with `error` to the current message, and close the connection."""


class StatusLineCache:
    """Cache of the first bytes of a 200 response.

    They are rebuilt only when uvicorn's default headers change: once per second, for the date.
    """

    def __init__(self) -> None:
        """Create an empty cache."""
        self._default_headers: list[tuple[bytes, bytes]] | None = None
        self._ok = b""

    def ok(self, state: ServerState) -> bytes:
        """Return the status line of a 200 response and uvicorn's default headers."""
        if self._default_headers is not state.default_headers:
            self._default_headers = state.default_headers
            self._ok = head(200, self._default_headers)
        return self._ok


RejectCall = Callable[[RequestError, Headers], HttpResponse]
"""Creates the response to an RPC that is rejected because of its headers."""


class Shared(NamedTuple):
    """State that all connections of a server share."""

    fast_path_handlers: Mapping[str, FastPathHandler]
    """Request handlers of the fast path, by URL path."""
    draining: Draining
    held: HeldBytes
    settings: Settings
    heads: StatusLineCache
    pace: RejectionPace
    turns: RequestTurns
    reject_call: RejectCall


class Exchange(ABC):
    """One request on the fast path, and its response.

    uvicorn's protocol uses it like its own cycle.
    """

    __slots__ = (
        "completion",
        "deadline_s",
        "deadline_timer",
        "disconnected",
        "handler",
        "head",
        "headers",
        "loop",
        "response_complete",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: FastPathHandler | None,
        headers: Headers,
        head: Any = None,  # noqa: ANN401
    ) -> None:
        """Create an exchange for a request with these headers.

        `handler` handles the request, with `head` from its `accept_headers`. None: the request is rejected.
        """
        self.loop = loop
        self.handler = handler
        self.head = head
        self.headers = headers
        self.response_complete = False
        self.disconnected = False
        self.completion: asyncio.Future[None] | None = None
        self.deadline_timer: asyncio.TimerHandle | None = None
        timeout_s = None if handler is None else handler.timeout_s(head)
        if timeout_s is not None:
            self.deadline_s = loop.time() + timeout_s
            self.deadline_timer = loop.call_later(timeout_s, self._expire)

    @property
    def message_event(self) -> Self:
        """The object that uvicorn's protocol sets when the state of the request changes."""
        return self

    @abstractmethod
    def set(self) -> None:
        """Handle a change of the request's state."""

    def submit(self, body: bytes) -> None:
        """Submit the request to its handler; the body is complete."""
        timeout_s = None
        if self.deadline_timer is not None:  # the queue enforces the deadline from now on
            self.deadline_timer.cancel()
            timeout_s = max(0.0, self.deadline_s - self.loop.time())
        try:
            if self.handler is not None:
                self.handler.submit(self.head, body, self, timeout_s)
        except Exception as error:  # noqa: BLE001 # every error gets a response
            self.deliver(error)

    @abstractmethod
    def is_disconnected(self) -> bool:
        """Return True if the response is complete or the client disconnected."""

    def deliver(self, result: Body | Exception, run: RunInfo | None = None) -> None:  # noqa: ARG002
        """Write the response, head and body in one write.

        Only the first call has an effect.
        """
        if self.response_complete:
            return
        was_disconnected = self.is_disconnected()
        self.end()
        if was_disconnected:
            return
        if isinstance(result, Exception):
            error = failure(result, self.headers)
            result = envelope(error) if self.handler is None else self.handler.error_response(error, self.headers)
        self.write(result)

    def end(self) -> None:
        """Mark the response as complete: nothing more is written."""
        self.response_complete = True
        if self.deadline_timer is not None:
            self.deadline_timer.cancel()
        if self.completion is not None and not self.completion.done():
            self.completion.set_result(None)

    def _expire(self) -> None:
        self.reject_message(DeadlineExceeded("the deadline passed before the request was complete"))

    @abstractmethod
    def reject_message(self, error: RequestError) -> None:
        """Respond with `error` to an incomplete request, and drop the rest of its body."""

    @abstractmethod
    def write(self, response: Body) -> None:
        """Write a response, and continue with the next request."""

    async def wait_until_complete(self) -> None:
        """Wait for the response while the server drains.

        uvicorn cancels this task at the drain deadline.
        """
        if self.response_complete:
            return
        self.completion = asyncio.get_running_loop().create_future()
        try:
            await self.completion
        except asyncio.CancelledError as error:
            self.deliver(failure(error, self.headers))


class Http1Exchange(Exchange):
    """The current request of an HTTP/1.1 connection."""

    __slots__ = ("chunks", "connection", "held", "keep_alive", "length")

    def __init__(
        self,
        connection: Connection,
        handler: FastPathHandler | None,
        headers: Headers,
        head: Any = None,  # noqa: ANN401
        *,
        keep_alive: bool,
    ) -> None:
        """Create an exchange for the request that `connection` receives next."""
        Exchange.__init__(self, connection.loop, handler, headers, head)  # super() doubles the cost
        self.connection = connection
        self.keep_alive = keep_alive
        self.chunks: list[bytes] = []
        self.length = 0
        self.held: HeldBody | None = None
        """Counter of the held body bytes; None if the body arrived in one read."""

    def hold(self, total: HeldBytes) -> None:
        """Count the received bytes of an incomplete body in `total`. Raises ResourceExhausted."""
        if self.held is None:
            self.held = HeldBody(total)
        self.held.take(self.length - self.held.size)
        if len(self.chunks) > _MAX_CHUNKS:  # small chunks take many times the memory of their bytes
            self.chunks = [b"".join(self.chunks)]

    def reject(self, error: RequestError) -> None:
        """Respond with `error` to an incomplete request, and drop its received body."""
        self.drop()
        if self.handler is not None:
            self.handler.fail(error, self.head)
        self.deliver(error)

    def drop(self) -> None:
        """Release the body."""
        self.chunks.clear()
        if self.held is not None:
            self.held.release()

    def set(self) -> None:
        """Do nothing: the connection is closed, and `is_disconnected` checks the transport."""

    def reject_message(self, error: RequestError) -> None:
        """Reject the message and close the connection.

        The start of the next request is unknown.
        """
        self.connection.reject(error)

    def close_after_response(self) -> None:
        """Close the connection after the response: the rest of the request is never read."""
        self.keep_alive = False
        self.drop()

    def body(self) -> bytes:
        """Return the received body, and release it."""
        if self.held is not None:
            self.held.release()
        chunks, self.chunks = self.chunks, []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def is_disconnected(self) -> bool:
        """Return True if the response is complete, or the connection is closed or closing."""
        return self.response_complete or self.connection.transport.is_closing()

    def write(self, response: Body) -> None:
        """Write a response, and continue with the connection's next request."""
        connection = self.connection
        connection.transport.write(self._bytes(response))
        if not self.keep_alive:
            connection.close()
        connection.on_response_complete()

    def _bytes(self, response: Body) -> bytes:
        state = self.connection.server_state
        if isinstance(response, bytes):
            first = self.connection.heads.ok(state)
            if self.keep_alive:
                return first + _JSON_REST % (len(response), response)
        elif response.status == 200:
            first = self.connection.heads.ok(state)
        else:
            first = head(response.status, state.default_headers)
        if not self.keep_alive:
            first += b"connection: close\r\n"
        return first + rest(response)


def rest(body: Body) -> bytes:
    """Return the bytes of a response after its status line and default headers."""
    if isinstance(body, bytes):
        return _JSON_REST % (len(body), body)
    fields = _fields(body.headers) if body.headers else b""
    return fields + _REST % (body.media_type.encode(), len(body.body), body.body)


def head(status: int, headers: Headers) -> bytes:
    """Return a status line and headers."""
    return STATUS_LINE[status] + _fields(headers)


def _fields(headers: Headers) -> bytes:
    return b"".join([name + b": " + value + b"\r\n" for name, value in headers])
