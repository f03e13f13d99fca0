"""Bytes on a connection to requests and back: uvicorn's HTTP/1.1, with a short way for small predictions.

A plain POST of a small body to a path known at load is answered without ASGI: no scope, no task, no messages, and one
write. Everything else, and whatever is unusual about a request, goes uvicorn's own way, which ends in the same code.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from server.endpoints.hot import Headers, Prediction
from server.endpoints.responses import failure
from server.errors import InvalidArgument
from server.requests import JSON, UNSTATED

_REFUSAL: Final = InvalidArgument("request: expected HTTP/1.1: a request line, headers and a body as they state it")
_PLAIN_TYPES: Final = frozenset(name.encode() for name in (JSON, *UNSTATED))
_LENGTH: Final = b"content-type: " + JSON.encode() + b"\r\ncontent-length: %d\r\n\r\n%b"


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
            self._ok = _head(200, self._of)
        return self._ok


class Exchange:
    """One request that goes the short way, and its answer. To uvicorn's protocol it looks like a cycle of its own."""

    __slots__ = ("body", "disconnected", "headers", "keep_alive", "prediction", "protocol", "response_complete")

    def __init__(self, protocol: "Protocol", prediction: Prediction, headers: Headers, *, keep_alive: bool) -> None:
        """Answer what `protocol` receives from now on by `prediction`."""
        self.protocol = protocol
        self.prediction = prediction
        self.headers = headers
        self.keep_alive = keep_alive
        self.body = b""
        self.response_complete = False
        self.disconnected = False

    @property
    def message_event(self) -> "Exchange":
        """What uvicorn's protocol sets when the connection is lost: here nobody waits for it."""
        return self

    def set(self) -> None:
        """Tell nobody."""

    def submit(self) -> None:
        """Queue the request, whose body is whole."""
        try:
            self.prediction.submit(self.headers, self.body, self)
        except Exception as error:  # noqa: BLE001 # each is answered, foreseen or not
            self.deliver(error)

    def left(self) -> bool:
        """Return whether the connection is closed or closing."""
        return self.protocol.transport.is_closing()

    def deliver(self, answer: bytes | Exception) -> None:
        """Write the answer, head and body at once."""
        protocol = self.protocol
        self.response_complete = True
        if protocol.transport.is_closing():
            return
        if isinstance(answer, Exception):
            head, body = self._error(answer)
        else:
            head, body = protocol.heads.ok(protocol.server_state), answer
        if not self.keep_alive:
            head += b"connection: close\r\n"
        protocol.transport.write(head + _LENGTH % (len(body), body))
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()

    def _error(self, error: Exception) -> tuple[bytes, bytes]:
        told = failure(error, self.headers)
        own = [(name.encode(), value.encode()) for name, value in told.headers.items()]
        return _head(told.status, [*self.protocol.server_state.default_headers, *own]), told.envelope()


class Protocol(HttpToolsProtocol):
    """uvicorn's own protocol, but for small predictions, and for its one answer that no application sees."""

    def __init__(self, hot: Mapping[bytes, Prediction], heads: Heads, **of_uvicorn: Any) -> None:  # noqa: ANN401
        """Answer by the short way what is posted to a path in `hot`."""
        super().__init__(**of_uvicorn)
        self._hot = hot
        self.heads = heads
        self._exchange: Exchange | None = None
        self._idle_since = 0.0

    def on_message_begin(self) -> None:
        """Begin a request, with only what the short way needs of it."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Take a request that is plain, as far as its head tells; leave any other to uvicorn."""
        prediction = self._hot.get(self.url)
        if prediction is None or not self._is_plain(prediction):
            self._leave_to_uvicorn()
            return
        exchange = Exchange(self, prediction, self.headers, keep_alive=self.parser.should_keep_alive())
        self.cycle = self._exchange = exchange  # type: ignore[assignment] # it has all of a cycle that is used

    def _leave_to_uvicorn(self) -> None:
        """Give uvicorn the head of a request as if it alone had read it."""
        self._exchange = None
        url, expects, headers = self.url, self.expect_100_continue, self.headers
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body. One that grows large goes uvicorn's way: that reads no faster than is consumed."""
        exchange = self._exchange
        if exchange is None:
            super().on_body(body)
            return
        exchange.body = exchange.body + body if exchange.body else body
        if len(exchange.body) > exchange.prediction.max_short_bytes:
            self._give_up_short_way(exchange)

    def on_message_complete(self) -> None:
        """Answer a request that is whole."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            super().on_message_complete()
        else:
            exchange.submit()

    def shutdown(self) -> None:
        """Begin to drain. A request that isn't whole may outlive that: uvicorn can end one of its own only."""
        if self._exchange is not None:
            self._give_up_short_way(self._exchange)
        super().shutdown()

    def _give_up_short_way(self, exchange: Exchange) -> None:
        """Leave to uvicorn a request of whose body a part was read."""
        self.cycle = None  # type: ignore[assignment] # as for the first request of a connection
        self._leave_to_uvicorn()
        if exchange.body:
            super().on_body(exchange.body)

    def on_response_complete(self) -> None:
        """Go on with the next request, or begin to wait for it.

        A connection has one timer, which looks now and then whether it was idle for too long; uvicorn's own is set and
        cancelled for every request.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
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

    def _is_plain(self, prediction: Prediction) -> bool:
        """Return whether nothing about this request needs more than its body: see the module's own words."""
        if self.cycle is not None and not self.cycle.response_complete:
            return False  # pipelined: its turn comes when the one before is answered
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or parser.should_upgrade():
            return False
        for name, value in self.headers:
            if name == b"content-type" and value not in _PLAIN_TYPES:
                return False
            if name == b"content-length" and int(value) > prediction.max_short_bytes:
                return False
            if name in {b"content-encoding", b"expect"}:
                return False
        return not self.flow.write_paused  # its caller reads no answers: no more of them are made

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 # uvicorn's text, which the envelope replaces
        """Answer 400 in the error envelope and close."""
        body = _REFUSAL.envelope()
        self.transport.write(_head(400, [(b"connection", b"close")]) + _LENGTH % (len(body), body))
        self.transport.close()


def protocol(hot: Mapping[str, Prediction]) -> Callable[..., Protocol]:
    """Return what uvicorn calls for each connection: the protocol that answers the paths in `hot` by the short way."""
    return functools.partial(Protocol, {path.encode(): prediction for path, prediction in hot.items()}, Heads())


def _head(status: int, headers: Headers) -> bytes:
    return STATUS_LINE[status] + b"".join([name + b": " + value + b"\r\n" for name, value in headers])
