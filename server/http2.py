"""Bytes on a connection of cleartext HTTP/2 to requests and back: uvicorn's, with the short way for small predictions.

The short way is that of `server.protocol`: a plain POST of a small body to a path known at load goes without ASGI.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import zttp
from uvicorn.protocols.http.auto_zttp_impl import AutoZttpProtocol
from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol

from server.draining import Draining
from server.endpoints.hot import Prediction
from server.errors import Canceled, PayloadTooLarge
from server.exchange import Exchange
from server.replies import JSON, Body, Headers, Reply


class AnyVersion(AutoZttpProtocol):
    """A connection of which it isn't known yet what it speaks: HTTP/2 where it begins with that one's preface."""

    def __init__(
        self,
        http1: Callable[..., asyncio.Protocol],
        http2: Callable[..., asyncio.Protocol],
        **of_uvicorn: Any,  # noqa: ANN401
    ) -> None:
        """Hand the connection to what `http1` or `http2` makes."""
        super().__init__(**of_uvicorn)
        self._http1 = http1
        self._http2 = http2

    def _switch(self, http2: bool, initial_data: bytes = b"") -> None:  # as uvicorn calls it
        make = self._http2 if http2 else self._http1
        spoken = make(config=self.config, server_state=self.server_state, app_state=self.app_state)
        self.transport.set_protocol(spoken)
        spoken.connection_made(self.transport)
        if initial_data:
            spoken.data_received(initial_data)


class Http2Protocol(ZttpH2Protocol):
    """uvicorn's own protocol, but for small predictions."""

    def __init__(
        self,
        hot: Mapping[str, Prediction],
        draining: Draining,
        max_header_bytes: int,
        **of_uvicorn: Any,  # noqa: ANN401
    ) -> None:
        """Answer by the short way what is posted to a path in `hot`; a longer head than that is refused."""
        super().__init__(**of_uvicorn)
        self._draining = draining
        self._hot = hot
        self._max_header_bytes = max_header_bytes

    def handle_request(self, event: zttp.Request) -> None:
        """Begin a request: by the short way where it is plain, as far as its head tells."""
        if self.shutdown_requested:
            super().handle_request(event)
            return
        prediction = self._hot.get(event.path.decode("latin-1"))
        headers: list[tuple[bytes, bytes]] = [*event.headers]  # in lower case: HTTP/2 has no other (RFC 9113, 8.2.1)
        if sum(len(name) + len(value) for name, value in headers) > self._max_header_bytes:
            self._begin(Http2Exchange(self, None, headers, event)).refuse_head(self._max_header_bytes)
        elif prediction is not None and event.method == b"POST" and _is_plain(prediction, headers):
            self._begin(Http2Exchange(self, prediction, headers, event))
        else:
            super().handle_request(event)

    def _begin(self, exchange: "Http2Exchange") -> "Http2Exchange":
        self._unset_keepalive_if_required()
        self.cycles[exchange.stream.stream_id] = exchange  # type: ignore[assignment] # it has all of a cycle that is used
        return exchange

    def leave_to_uvicorn(self, exchange: "Http2Exchange") -> None:
        """Give uvicorn a request of whose body a part was read, as if it alone had read it."""
        super().handle_request(exchange.event)
        cycle = self.cycles[exchange.stream.stream_id]
        cycle.body += exchange.body
        cycle.more_body = exchange.more_body
        cycle.message_event.set()

    def shutdown(self) -> None:
        """Begin to drain: what waits in a queue is answered, or told that the time for it is up."""
        self._draining.begin()
        for exchange in self.cycles.values():
            if isinstance(exchange, Http2Exchange):
                task = self.loop.create_task(exchange.outlast())
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        super().shutdown()


def _is_plain(prediction: Prediction, headers: Headers) -> bool:
    for name, value in headers:
        if name == b"content-type" and value not in prediction.plain_types_http2:
            return False
        if name == b"content-length" and (not value.isdigit() or int(value) > prediction.max_short_bytes):
            return False
        if name in prediction.unusual:
            return False
    return True


class Http2Exchange(Exchange):
    """One stream of a connection of HTTP/2."""

    __slots__ = ("body", "connection", "event", "more_body", "stream")

    def __init__(
        self, connection: Http2Protocol, prediction: Prediction | None, headers: Headers, event: zttp.Request
    ) -> None:
        """Answer the request that `event` began."""
        super().__init__(prediction, headers)
        self.connection = connection
        self.event = event
        self.stream = connection.conn.stream(event.stream_id)
        self.body = bytearray()
        self.more_body = True

    def set(self) -> None:
        """Look at what has come of the body: answer it when it is whole, leave it to uvicorn when it grows large."""
        if self.prediction is None or self.response_complete:
            return
        if self.disconnected:
            if self.more_body:
                self.prediction.fail(Canceled("the caller left before its request was whole"))
        elif len(self.body) > self.prediction.max_short_bytes:
            self.connection.leave_to_uvicorn(self)
        elif not self.more_body:
            self.submit(bytes(self.body))

    def left(self) -> bool:
        """Return whether it was answered, or the stream or the connection is closed."""
        return self.response_complete or self.disconnected or self.connection.transport.is_closing()

    def refuse_head(self, max_bytes: int) -> None:
        """Answer 413: nothing of the body is looked at."""
        self.deliver(PayloadTooLarge(f"headers: expected at most {max_bytes} bytes", field="headers"))

    def write(self, answer: Body) -> None:
        """Write an answer, and go on with the connection's other streams."""
        reply = Reply(answer, JSON) if isinstance(answer, bytes) else answer
        stream, connection = self.stream, self.connection
        fields = [
            *connection.server_state.default_headers,
            (b"content-type", reply.media_type.encode()),
            *reply.headers,
        ]
        if not reply.trailers:
            fields.append((b"content-length", b"%d" % len(reply.body)))
        stream.send_response(reply.status, fields)
        if reply.body:
            stream.send_data(reply.body)
        stream.end_message([*reply.trailers] or None)
        connection.transport.write(connection.conn.data_to_send())
        connection.on_response_complete(stream.stream_id)
