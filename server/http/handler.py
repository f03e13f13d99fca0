"""Contract of the fast path: handlers that are looked up by URL path and shared by every HTTP transport."""

from abc import ABC, abstractmethod
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from server.errors import RequestError
from server.http.header_numbers import MAX_DIGITS
from server.http.message import Body, Headers, HttpResponse
from server.inference.batcher import Receiver

SHORT_BYTES: Final = 64 * 1024
"""Largest body in bytes that is buffered without backpressure: the read-ahead limit of uvicorn."""


class FastPathHandler(ABC):
    """Handler for one URL path that returns predictions: decode, run in a batch, encode."""

    def __init__(self, max_body_bytes: int) -> None:
        """Accept bodies of up to `max_body_bytes`. Small bodies are processed without streaming."""
        self.max_body_bytes = max_body_bytes
        self.max_short_bytes = min(max_body_bytes, SHORT_BYTES)
        self.short_digits = len(str(self.max_short_bytes)) - 1
        """Every content length with at most this many digits is within `max_short_bytes`."""

    @abstractmethod
    def accept_headers(self, headers: Headers, *, http2: bool) -> Any | None:  # noqa: ANN401 # own type per handler
        """Return the head data for `submit`; None if the request is not plain.

        `__call__` handles requests that are not plain, and bodies longer than `max_short_bytes`.
        """

    def is_short(self, content_length: bytes) -> bool:
        """Return True if a content length is a number of at most `max_short_bytes`."""
        if not content_length.isdigit() or len(content_length) > MAX_DIGITS:
            return False
        return int(content_length) <= self.max_short_bytes

    def admit(self, headers: Headers) -> None:  # noqa: ARG002
        """Raise ResourceExhausted for a large request if the queue has no room, and count it.

        Call it with the headers of a request that is not plain, before the body is read.
        """
        return

    def timeout_s(self, head: Any) -> float | None:  # noqa: ANN401, ARG002
        """Return the timeout of a plain request in seconds from its head; None: no timeout."""
        return None

    @abstractmethod
    def submit(self, head: Any, body: bytes, receiver: Receiver[Body], timeout_s: float | None = None) -> None:  # noqa: ANN401
        """Queue a whole plain request; `receiver` gets the response. Raises RequestError."""

    @abstractmethod
    def fail(self, error: Exception, head: Any = None) -> None:  # noqa: ANN401
        """Count a request that failed before it was queued; `head` belongs to a plain request."""

    @abstractmethod
    def error_response(self, error: RequestError, headers: Headers) -> HttpResponse:
        """Return the response for an error."""

    @abstractmethod
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request of any size, type and headers, as an ASGI application."""


def min_timeout(one_s: float | None, other_s: float | None) -> float | None:
    """Return the shorter of two timeouts in seconds; None means no timeout."""
    if one_s is None or other_s is None:
        return other_s if one_s is None else one_s
    return min(one_s, other_s)
