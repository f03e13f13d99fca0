"""HTTP/1.1 protocol for uvicorn, with a fast path for small predictions.

The fast path handles a plain POST with a small body to a path that is registered at load. It bypasses ASGI: it creates
no scope, no task and no messages, and does one write. uvicorn handles every other request; both use the same handlers.
"""

import asyncio
import functools
from collections.abc import Callable, Mapping
from typing import Any

from server.errors import Canceled, ResourceExhausted
from server.http import framing
from server.http.exchange import Exchange, Http1Exchange, RejectCall, Shared, StatusLineCache
from server.http.handler import FastPathHandler
from server.http.header_numbers import content_length
from server.http.held_bytes import HeldBytes
from server.http.http1_asgi import AsgiProtocol
from server.http.lifecycle import Draining
from server.http.message import Headers
from server.http.rejection_pace import RejectionPace
from server.http.request_turns import RequestTurns
from server.settings import Settings


class Protocol(AsgiProtocol):
    """uvicorn's protocol with a fast path and custom responses for rejected requests."""

    def __init__(self, shared: Shared, **uvicorn_arguments: Any) -> None:  # noqa: ANN401
        """Handle POST requests to the paths in `shared.fast_path_handlers` on the fast path."""
        super().__init__(shared, **uvicorn_arguments)
        self._draining = shared.draining
        self._fast_path_handlers = shared.fast_path_handlers
        self._pace = shared.pace
        self._handler: FastPathHandler
        """The handler for `exchange`."""
        self._submitted_exchange: Exchange | None = None
        """The last request that was submitted to its handler."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of a connection, and release its resources."""
        super().connection_lost(exc)
        if self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            is_complete = exchange.response_complete  # an error completes it early
            exchange.end()
            exchange.drop()
            if not is_complete:
                error = Canceled("the client disconnected before the request was complete")
                self._handler.fail(error, exchange.head)

    def on_message_begin(self) -> None:
        """Start a request, with only the state that the fast path needs."""
        self.receiving_since_s = self.data_s
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Start the fast path if the head is plain; else pass the request to uvicorn."""
        parser = self.parser
        method, version = parser.get_method(), parser.get_http_version()
        unread_bytes, self.unread_bytes = self.unread_bytes, 0
        if unread_bytes > self.surely_short_bytes and framing.size(self.url, self.headers) > self.max_header_bytes:
            self.reject_and_stop(self.too_long_error())
        if parser.should_upgrade():
            if method == b"CONNECT":
                self._check_framing(method, version)
            return  # the head is parsed again without the upgrade
        headers = self.headers
        hosts = 0  # check a typical head inline: a function call per request costs more
        for name, _ in headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                hosts = 0  # forces the full check
                break
        if hosts != 1 or version != "1.1":
            self._check_framing(method, version)
        handler = self._fast_path_handlers.get(self.url.decode("latin-1"))
        head = None if handler is None or method != b"POST" else self._accept_head(handler, version)
        if handler is None or head is None:
            if handler is None or method != b"POST" or not self._reject_if_full(handler, headers):
                self.leave_to_uvicorn(headers)
        else:
            exchange = Http1Exchange(self, handler, headers, head, keep_alive=parser.should_keep_alive())
            self._handler = handler
            self.cycle = self.exchange = exchange  # type: ignore[assignment] # has all attributes that are used
        self.headers = self.trailers
        self.trailer_bytes = 0

    def _check_framing(self, method: bytes, version: str) -> None:
        error = framing.framing_error(method, version, self.headers)
        if error is not None:
            self.reject_and_stop(error)

    def _reject_if_full(self, handler: FastPathHandler, headers: Headers) -> bool:
        """Reject a large request if the queue has no room.

        To keep the cost low, its body is read and dropped.
        """
        is_pipelined = self.cycle is not None and not self.cycle.response_complete
        if is_pipelined or self.expect_100_continue or self.flow.write_paused or self.transport.is_closing():
            return False
        try:
            handler.admit(headers)
        except ResourceExhausted as error:
            exchange = Http1Exchange(self, None, headers, keep_alive=self.parser.should_keep_alive())
            self.exchange = None
            self.cycle = exchange  # type: ignore[assignment] # its response is complete, so no body is read into it
            exchange.deliver(error)
            self.slow_down(headers)
            return True
        return False

    def slow_down(self, headers: Headers) -> None:
        """Delay reading if rejections use more than their share of the CPU."""
        delay_s = self._pace.delay_s(content_length(headers))
        if delay_s and not self.transport.is_closing():
            self.flow.pause_reading()
            self.loop.call_later(delay_s, self._resume_reading)

    def _resume_reading(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        """Add a chunk to a body.

        A body that exceeds the fast path limit is passed to uvicorn, which applies backpressure.
        """
        self.unread_bytes = 0
        exchange = self.exchange
        if exchange is None:
            self.pass_on(body)
            return
        exchange.chunks.append(body)
        exchange.length += len(body)
        if exchange.length > self._handler.max_short_bytes:
            self._leave_fast_path(exchange)

    def on_message_complete(self) -> None:
        """Submit a complete request to its handler."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            self.receiving_since_s = None
            self._submitted_exchange = exchange
            exchange.submit(exchange.body())
        elif not self.parser.should_upgrade():
            self.receiving_since_s = None
            super().on_message_complete()

    def shutdown(self) -> None:
        """Start to drain.

        An incomplete request is passed to uvicorn, which can only end its own requests.
        """
        self._draining.begin()
        if self.exchange is not None and not self.transport.is_closing():
            self._leave_fast_path(self.exchange)
        elif self._submitted_exchange is not None and not self._submitted_exchange.response_complete:
            task = self.loop.create_task(self._submitted_exchange.wait_until_complete())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        super().shutdown()

    def _leave_fast_path(self, exchange: Http1Exchange) -> None:
        """Pass a request to uvicorn after a part of its body was read."""
        exchange.end()
        self.cycle = None  # type: ignore[assignment] # the same state as before the first request of a connection
        self.leave_to_uvicorn(exchange.headers)
        self.headers = self.trailers
        if exchange.length:
            self.pass_on(exchange.body())

    def on_response_complete(self) -> None:
        """Continue with the next request, or wait for it."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            if self.flow.unparsed and not self.pipeline:
                self.loop.call_soon(self.parse_rest)
        else:
            self.idle_since_s = self.loop.time()
            if self.failure is not None:
                self.reject_waiting()
        if self.flow.read_paused:
            self.flow.resume_reading()

    def _accept_head(self, handler: FastPathHandler, version: str) -> Any | None:  # noqa: ANN401 # handler's type
        """Return the head data for `handler`; None if the request is not plain."""
        if self.cycle is not None and not self.cycle.response_complete:
            return None  # pipelined: it must wait for the response before it
        if version != "1.1" or self.flow.write_paused:
            return None  # paused: the client does not read responses
        return handler.accept_headers(self.headers, http2=False)


def protocol(
    fast_path_handlers: Mapping[str, FastPathHandler],
    draining: Draining,
    held: HeldBytes,
    settings: Settings,
    reject_call: RejectCall,
) -> Callable[..., asyncio.Protocol]:
    """Return the protocol factory that uvicorn calls for each connection.

    Requests to the paths in `fast_path_handlers` use the fast path. Bodies are counted in `held`. `reject_call` creates
    responses to RPCs that are rejected because of their headers. With `settings.http2`, a connection that starts with
    the HTTP/2 preface uses HTTP/2; any other connection uses HTTP/1.1.
    """
    shared = Shared(
        fast_path_handlers, draining, held, settings, StatusLineCache(), RejectionPace(), RequestTurns(), reject_call
    )
    http1 = functools.partial(Protocol, shared)
    if not settings.http2:
        return http1
    from server.http.http2 import AnyVersion, Http2Protocol  # here: an HTTP/1.1 server avoids its import cost

    return functools.partial(AnyVersion, http1, functools.partial(Http2Protocol, shared), settings.body_timeout_s)
