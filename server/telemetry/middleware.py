"""Middleware that observes requests: wraps the handlers for the request log and traces.

This module is imported, and handlers are wrapped, only if the log or traces are enabled.
"""

from collections.abc import Collection, Mapping, Sequence
from time import perf_counter_ns, time_ns
from typing import Any, Final, NamedTuple, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import Canceled, RequestError
from server.http.handler import FastPathHandler
from server.http.message import JSON, Body, Fields, Headers, HttpResponse
from server.http.request_context import REQUEST_ID, Observation, StartTime, current, known_field
from server.http.responses import failure
from server.inference.batcher import Receiver
from server.inference.statistics import RunInfo
from server.telemetry.run_recorder import observe_run

INPUT_BYTES: Final = 16 * 1024
"""Maximum number of bytes of a client's input to log, if input logging is enabled."""


class Sink(Protocol):
    """Receiver of observations when a request begins and ends."""

    def on_begin(self, observation: Observation) -> None:
        """Record the start of a request; may add headers to the request and response."""

    def on_end(self, observation: Observation) -> None:
        """Record a request that got its response or whose client disconnected."""

    def close(self, timeout_s: float) -> None:
        """Flush buffered data."""


class Observer:
    """Observes requests from the head to the end of the response, on every protocol."""

    observe_run = staticmethod(observe_run)
    """Returns the recorder of a request's run: see `Runners`."""

    def __init__(self, sinks: Sequence[Sink], *, inputs: bool = False) -> None:
        """Report requests to `sinks`; with `inputs`, also what clients sent."""
        self._sinks = sinks
        self.inputs = inputs
        self.names: Collection[str] = ()
        """Names of the features and outputs of all served models."""

    def begin(
        self,
        method: str,
        path: str,
        headers: list[tuple[bytes, bytes]],
        http_version: str,
        start: StartTime | None = None,
    ) -> Observation:
        """Start the observation of a request that begins now, or began at `start`."""
        observation = Observation(method, path, headers, http_version, start or StartTime(perf_counter_ns(), time_ns()))
        for sink in self._sinks:
            sink.on_begin(observation)
        return observation

    def end(self, observation: Observation) -> None:
        """Report a request that has ended."""
        observation.duration_ns = perf_counter_ns() - observation.start.clock_ns
        if observation.error is not None:
            observation.field = known_field(observation.error, self.names)
        for sink in self._sinks:
            sink.on_end(observation)

    def close(self, timeout_s: float) -> None:
        """Flush all sinks; data not flushed within `timeout_s` is lost."""
        for sink in self._sinks:
            sink.close(timeout_s)

    def wrap_handlers(self, handlers: Mapping[str, FastPathHandler]) -> dict[str, FastPathHandler]:
        """Wrap the fast path handler of each path."""
        return {path: ObservedHandler(self, path, handler) for path, handler in handlers.items()}

    def app(self, app: ASGIApp) -> ASGIApp:
        """Wrap an ASGI application."""
        return ObservedApp(self, app)


class ObservedApp:
    """ASGI middleware that observes requests."""

    def __init__(self, observer: Observer, app: ASGIApp) -> None:
        """Handle requests with `app`."""
        self._observer = observer
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or the lifespan of the server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        observation = self._observer.begin(scope["method"], scope["path"], scope["headers"], scope["http_version"])
        if self._observer.inputs:
            observation.input = scope["query_string"][:INPUT_BYTES]
        exchange = _Exchange(observation, receive, send, inputs=self._observer.inputs)
        token = current.set(observation)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            current.reset(token)
            if not exchange.is_complete and observation.error is None:
                observation.error = Canceled("the response was aborted, or the client disconnected before it")
            self._observer.end(observation)


class _Exchange:
    """ASGI receive and send of one request, recorded in its observation."""

    def __init__(self, observation: Observation, receive: Receive, send: Send, *, inputs: bool) -> None:
        self._observation = observation
        self._receive = receive
        self._send = send
        self._inputs = inputs
        self.is_complete = False
        """True if the whole response was sent, apart from trailers."""

    async def receive(self) -> Message:
        """Receive an ASGI message."""
        message = await self._receive()
        body = message.get("body", b"")
        self._observation.request_bytes += len(body)
        if self._inputs and body:
            self._observation.input += body[: INPUT_BYTES - len(self._observation.input)]
        return message

    async def send(self, message: Message) -> None:
        """Send an ASGI message; add the request id to the response headers."""
        observation = self._observation
        if message["type"] == "http.response.start":
            observation.status = message["status"]
            message = {
                **message,
                "headers": _merge_fields(tuple(message.get("headers", ())), observation.response_fields),
            }
        elif message["type"] == "http.response.body":
            observation.response_bytes += len(message.get("body", b""))
            self.is_complete = not message.get("more_body", False)
        await self._send(message)


class _Head(NamedTuple):
    """The head of a fast path request."""

    inner_head: Any
    headers: list[tuple[bytes, bytes]]
    http_version: str
    start: StartTime


class ObservedHandler(FastPathHandler):
    """Fast path handler that observes requests."""

    def __init__(self, observer: Observer, path: str, handler: FastPathHandler) -> None:
        """Handle a POST to `path` with `handler`."""
        super().__init__(handler.max_body_bytes)
        self.max_short_bytes = handler.max_short_bytes
        self.observer = observer
        self.handler = handler
        self.queued: dict[int, _ObservedReceiver] = {}
        """Queued requests, by the identity of their headers."""
        self._path = path

    def accept_headers(self, headers: Headers, *, http2: bool) -> _Head | None:
        """Return the data for `submit`; see FastPathHandler.

        The observation does not begin here, because the request may still go to the ASGI application.
        """
        inner_head = self.handler.accept_headers(headers, http2=http2)
        if inner_head is None:
            return None
        assert isinstance(headers, list)  # noqa: S101 # both HTTP protocols pass a list
        return _Head(inner_head, headers, "2" if http2 else "1.1", StartTime(perf_counter_ns(), time_ns()))

    def timeout_s(self, head: _Head) -> float | None:
        """Return the seconds until the client's deadline; None if it set no deadline."""
        return self.handler.timeout_s(head.inner_head)

    def submit(self, head: _Head, body: bytes, receiver: Receiver[Body], timeout_s: float | None = None) -> None:
        """Queue a whole request; `receiver` takes the response or the error response."""
        observation = self._begin(head)
        observation.request_bytes = len(body)
        if self.observer.inputs:
            observation.input = body[:INPUT_BYTES]
        observed = self.queued[id(head.headers)] = _ObservedReceiver(self, observation, receiver)
        token = current.set(observation)
        try:
            self.handler.submit(head.inner_head, body, observed, timeout_s)
        except Exception as error:  # noqa: BLE001 # the client gets a response to every error
            observed.deliver(error)
        finally:
            current.reset(token)

    def fail(self, error: Exception, head: _Head | None = None) -> None:
        """Count a request that failed before it was queued."""
        self.handler.fail(error)
        if head is not None and isinstance(error, RequestError):
            observation = self._begin(head)
            observation.error = error
            observation.status = error.status
            self.observer.end(observation)

    def error_response(self, error: RequestError, headers: Headers) -> HttpResponse:
        """Return an error response for a request whose result is no longer awaited."""
        response = self.handler.error_response(error, headers)
        observed = self.queued.get(id(headers))
        if observed is not None:  # the drain timed out
            observed.observation.error = error
            observed.end(response)
        request_id = dict(headers).get(REQUEST_ID)
        return (
            response
            if request_id is None
            else response._replace(headers=_merge_fields(response.headers, ((REQUEST_ID, request_id),)))
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request of any size, type and headers; ObservedApp observes it."""
        await self.handler(scope, receive, send)

    def _begin(self, head: _Head) -> Observation:
        return self.observer.begin("POST", self._path, head.headers, head.http_version, head.start)


class _ObservedReceiver:
    """Receiver that observes a response and passes it on to the request's receiver."""

    __slots__ = ("_handler", "_receiver", "observation")

    def __init__(self, handler: ObservedHandler, observation: Observation, receiver: Receiver[Body]) -> None:
        self._handler = handler
        self.observation = observation
        self._receiver = receiver

    def is_disconnected(self) -> bool:
        """Return True if the client disconnected."""
        return self._receiver.is_disconnected()

    def deliver(self, result: Body | Exception, run: RunInfo | None = None) -> None:
        """Pass on the response, or the error as a response."""
        observation = self.observation
        if isinstance(result, bytes):
            response = HttpResponse(result, JSON, observation.response_fields)
        elif isinstance(result, Exception):
            observation.error = error = failure(result, observation.headers)
            response = _with_request_id(observation, self._handler.handler.error_response(error, observation.headers))
        else:
            response = _with_request_id(observation, result)
        try:
            self._receiver.deliver(response, run)
        finally:
            self.end(response)

    def end(self, response: HttpResponse) -> None:
        """Report the request once."""
        observation = self.observation
        if self._handler.queued.pop(id(observation.headers), None) is not None:
            observation.status = response.status
            observation.response_bytes = len(response.body)
            self._handler.observer.end(observation)


def _with_request_id(observation: Observation, response: HttpResponse) -> HttpResponse:
    """Add the request id to the headers of a response."""
    return response._replace(headers=_merge_fields(response.headers, observation.response_fields))


def _merge_fields(fields: Fields, added: Fields) -> Fields:
    """Add headers to others, with at most one request id."""
    if any(name == REQUEST_ID for name, _ in fields):
        added = tuple(field for field in added if field[0] != REQUEST_ID)
    return (*fields, *added)
