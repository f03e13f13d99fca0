"""Bytes on a connection to requests and back: uvicorn's HTTP/1.1, with a short way for small predictions.

A plain POST of a small body to a path known at load is answered without ASGI: no scope, no task, no messages, and one
write. Everything else, and whatever is unusual about a request, goes uvicorn's own way, which ends in the same code.
"""

import asyncio
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.draining import Draining
from server.errors import Canceled, InvalidArgument, PayloadTooLarge
from server.exchange import Exchange, Heads, Http1Exchange, head, rest
from server.hot import Prediction
from server.trailers import Trailing

_REFUSAL: Final = InvalidArgument("request: expected HTTP/1.1: a request line, headers and a body as they state it")


class _Flow(FlowControl):
    """uvicorn's flow control, but that a connection isn't read on while requests of it wait for their turn.

    uvicorn resumes reading for each request that it begins: a caller that sends and never reads then fills the memory.
    """

    def __init__(self, transport: asyncio.Transport, pipeline: Collection[object]) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        """Read on, unless requests wait."""
        if not self._pipeline:
            super().resume_reading()


class Protocol(HttpToolsProtocol):
    """uvicorn's own protocol, but for small predictions, and for its one answer that no application sees."""

    def __init__(
        self,
        hot: Mapping[str, Prediction],
        draining: Draining,
        heads: Heads,
        max_header_bytes: int,
        **of_uvicorn: Any,  # noqa: ANN401
    ) -> None:
        """Answer by the short way what is posted to a path in `hot`; a longer head than that is refused."""
        super().__init__(**of_uvicorn)
        self._draining = draining
        self._hot = hot
        self.heads = heads
        self._max_header_bytes = max_header_bytes
        self._unread_bytes = 0
        """Bytes that came since the last head was whole: what the next one may have at most."""
        self._in_head = False
        self._exchange: Http1Exchange | None = None
        """The request whose body is being read by the short way, for `_prediction` to answer."""
        self._prediction: Prediction
        self._submitted: Exchange | None = None
        """The request that was last given to be answered."""
        self._idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin to serve a connection."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection, and let go of all that was kept for it."""
        super().connection_lost(exc)
        super()._unset_keepalive_if_required()  # uvicorn leaves the timer where there was an error
        if self._exchange is not None and not self._exchange.response_complete:
            self._exchange.end()
            self._prediction.fail(Canceled("the caller left before its request was whole"), self._exchange.head)
            self._exchange = None

    def data_received(self, data: bytes) -> None:
        """Read what came; refuse a head that grows too long before it is whole."""
        self._unread_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._unread_bytes > self._max_header_bytes and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        """Begin a request, with only what the short way needs of it."""
        self._in_head = True
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Take a request that is plain, as far as its head tells; leave any other to uvicorn."""
        self._in_head = False
        unread_bytes, self._unread_bytes = self._unread_bytes, 0
        if unread_bytes > self._max_header_bytes and self._head_bytes() > self._max_header_bytes:
            self._refuse_head()
            return
        prediction = self._hot.get(self.url.decode("latin-1"))
        head = None if prediction is None else self._plain(prediction)
        if prediction is None or head is None:
            self._leave_to_uvicorn()
            return
        exchange = Http1Exchange(self, prediction, self.headers, head, keep_alive=self.parser.should_keep_alive())
        self._prediction = prediction
        self.cycle = self._exchange = exchange  # type: ignore[assignment] # it has all of a cycle that is used

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse_head(self) -> None:
        """Answer 413 and close: what comes behind can't be told from the head."""
        refused = Http1Exchange(self, None, self.headers, keep_alive=False)
        self.cycle = refused  # type: ignore[assignment] # its answer is complete: nothing more is read into it
        words = f"headers: expected at most {self._max_header_bytes} bytes"
        refused.deliver(PayloadTooLarge(words, field="headers"))

    def _leave_to_uvicorn(self) -> None:
        """Give uvicorn the head of a request as if it alone had read it."""
        self._exchange = None
        url, expects, headers = self.url, self.expect_100_continue, self.headers
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 # uvicorn's own types
        """Begin to answer as uvicorn does; answers may have trailers."""
        super()._start_asgi_task(cycle, Trailing(app, cycle))  # type: ignore[arg-type] # the same, in Starlette's types

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body. One that grows large goes uvicorn's way: that reads no faster than is consumed."""
        exchange = self._exchange
        if exchange is None:
            super().on_body(body)
            return
        exchange.chunks.append(body)
        exchange.length += len(body)
        if exchange.length > self._prediction.max_short_bytes:
            self._give_up_short_way(exchange)

    def on_message_complete(self) -> None:
        """Answer a request that is whole."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            super().on_message_complete()
        else:
            self._submitted = exchange
            exchange.submit(exchange.body())

    def shutdown(self) -> None:
        """Begin to drain. A request that isn't whole may outlive that: uvicorn can end one of its own only."""
        self._draining.begin()
        if self._exchange is not None:
            self._give_up_short_way(self._exchange)
        elif self._submitted is not None and not self._submitted.response_complete:
            task = self.loop.create_task(self._submitted.outlast())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        super().shutdown()

    def _give_up_short_way(self, exchange: Http1Exchange) -> None:
        """Leave to uvicorn a request of whose body a part was read."""
        exchange.end()
        self.cycle = None  # type: ignore[assignment] # as for the first request of a connection
        self._leave_to_uvicorn()
        if exchange.length:
            super().on_body(exchange.body())

    def on_response_complete(self) -> None:
        """Go on with the next request, or begin to wait for it.

        A connection has one timer, which looks now and then whether it was idle for too long; uvicorn's own is set and
        cancelled for every request.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            self.flow.resume_reading()
            return
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_after(self.timeout_keep_alive)

    def _look_after(self, delay_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(delay_s, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection where no request is under way and nothing came for the time to keep it."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing():
            return
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if not self.cycle.response_complete:
            self._look_after(self.timeout_keep_alive)
        elif left_s > 0:
            self._look_after(left_s)
        else:
            super().timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        """Note that something came, where uvicorn would cancel the timer; cancel it only where the connection ends."""
        self._idle_since = self.loop.time()
        if self.transport.is_closing():
            super()._unset_keepalive_if_required()

    def _plain(self, prediction: Prediction) -> Any | None:  # noqa: ANN401 # `prediction` reads it
        """Return what `prediction` is to know of the head, None where more is asked than an answer to its body."""
        if self.cycle is not None and not self.cycle.response_complete:
            return None  # pipelined: its turn comes when the one before is answered
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or parser.should_upgrade():
            return None
        if self.flow.write_paused:
            return None  # its caller reads no answers: no more of them are made
        return prediction.plain(self.headers, http2=False)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 # uvicorn's text, which the envelope replaces
        """Answer 400 in the error envelope and close."""
        body = _REFUSAL.envelope()
        self.transport.write(head(400, [(b"connection", b"close")]) + rest(body))
        self.transport.close()


def protocol(
    hot: Mapping[str, Prediction], draining: Draining, max_header_bytes: int, *, http2: bool = False
) -> Callable[..., asyncio.Protocol]:
    """Return what uvicorn calls for each connection: what answers the paths in `hot` by the short way.

    With `http2` a connection that begins with HTTP/2's preface speaks that, any other HTTP/1.1.
    """
    http1 = functools.partial(Protocol, hot, draining, Heads(), max_header_bytes)
    if not http2:
        return http1
    from server.http2 import AnyVersion, Http2Protocol  # here: a server of HTTP/1.1 alone doesn't pay for it

    return functools.partial(AnyVersion, http1, functools.partial(Http2Protocol, hot, draining, max_header_bytes))
