"""Requests that are observed on their way: what answers them is wrapped, where the log or the traces are asked for.

Nothing here is imported, and nothing wrapped, where neither is.
"""

from collections.abc import Collection, Mapping, Sequence
from time import perf_counter_ns, time_ns
from typing import Any, Final, NamedTuple, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.batching import Receiver
from server.errors import Canceled, RequestError
from server.hot import Prediction
from server.observation import REQUEST_ID, Began, Observation, current, known_field
from server.observed_runs import ObservedRunner
from server.replies import JSON, Body, Fields, Headers, Reply
from server.responses import failure
from server.runner import Runner

INPUT_BYTES: Final = 16 * 1024
"""So much of what a caller sent is logged at most, where that is asked for."""


class Sink(Protocol):
    """What is told of a request when it begins and when it has ended."""

    def begins(self, observation: Observation) -> None:
        """Take note of a request; what it is to carry from here on may be put into its headers, and its answer's."""

    def ends(self, observation: Observation) -> None:
        """Tell of a request that was answered, or whose caller has left."""

    def close(self, timeout_s: float) -> None:
        """Let go of what was kept to be told later."""


class Observer:
    """Follows requests from their heads to the ends of their answers, on every wire."""

    def __init__(self, sinks: Sequence[Sink], *, inputs: bool = False) -> None:
        """Tell `sinks` of them; with `inputs` also what callers sent."""
        self._sinks = sinks
        self.inputs = inputs
        self.names: Collection[str] = ()
        """Those of the features and outputs of all models that are served."""

    def begin(
        self, method: str, path: str, headers: list[tuple[bytes, bytes]], http_version: str, began: Began | None = None
    ) -> Observation:
        """Return the observation of a request that begins now, or began then."""
        observation = Observation(method, path, headers, http_version, began or Began(perf_counter_ns(), time_ns()))
        for sink in self._sinks:
            sink.begins(observation)
        return observation

    def end(self, observation: Observation) -> None:
        """Tell of a request that has ended."""
        observation.duration_ns = perf_counter_ns() - observation.began.clock_ns
        if observation.error is not None:
            observation.field = known_field(observation.error, self.names)
        for sink in self._sinks:
            sink.ends(observation)

    def close(self, timeout_s: float) -> None:
        """Have everything told; after `timeout_s` what isn't told yet never is."""
        for sink in self._sinks:
            sink.close(timeout_s)

    @property
    def runner(self) -> type[Runner]:
        """The kind of runner that tells of its runs."""
        return ObservedRunner

    def predictions(self, known: Mapping[str, Prediction]) -> dict[str, Prediction]:
        """Return what answers the known paths, observed."""
        return {path: ObservedPrediction(self, path, prediction) for path, prediction in known.items()}

    def app(self, app: ASGIApp) -> ASGIApp:
        """Return an application, observed."""
        return ObservedApp(self, app)


class ObservedApp:
    """Observes what is answered by ASGI."""

    def __init__(self, observer: Observer, app: ASGIApp) -> None:
        """Answer by `app`."""
        self._observer = observer
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or live as long as the server does."""
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
            if not exchange.is_whole and observation.error is None:
                observation.error = Canceled("the answer was broken off, or the caller left before it")
            self._observer.end(observation)


class _Exchange:
    """The two directions of one request, as its observation sees them pass."""

    def __init__(self, observation: Observation, receive: Receive, send: Send, *, inputs: bool) -> None:
        self._observation = observation
        self._receive = receive
        self._send = send
        self._inputs = inputs
        self.is_whole = False
        """Whether the whole answer was sent, trailers apart."""

    async def receive(self) -> Message:
        """Take a message."""
        message = await self._receive()
        body = message.get("body", b"")
        self._observation.request_bytes += len(body)
        if self._inputs and body:
            self._observation.input += body[: INPUT_BYTES - len(self._observation.input)]
        return message

    async def send(self, message: Message) -> None:
        """Send a message; the answer's head names the request."""
        observation = self._observation
        if message["type"] == "http.response.start":
            observation.status = message["status"]
            message = {**message, "headers": _with(tuple(message.get("headers", ())), observation.answer_fields)}
        elif message["type"] == "http.response.body":
            observation.response_bytes += len(message.get("body", b""))
            self.is_whole = not message.get("more_body", False)
        await self._send(message)


class _Head(NamedTuple):
    """A plain request's head."""

    of_prediction: Any
    headers: list[tuple[bytes, bytes]]
    http_version: str
    began: Began


class ObservedPrediction(Prediction):
    """Observes what is answered by the short way."""

    def __init__(self, observer: Observer, path: str, prediction: Prediction) -> None:
        """Answer a POST to `path` by `prediction`."""
        super().__init__(prediction.max_body_bytes)
        self.max_short_bytes = prediction.max_short_bytes
        self.observer = observer
        self.prediction = prediction
        self.under_way: dict[int, _Answer] = {}
        """What is queued, by the identity of its headers."""
        self._path = path

    def plain(self, headers: Headers, *, http2: bool) -> _Head | None:
        """Return what `submit` is to know: see Prediction. The request has not begun: ASGI may still be given it."""
        of_prediction = self.prediction.plain(headers, http2=http2)
        if of_prediction is None:
            return None
        assert isinstance(headers, list)  # noqa: S101 # as both protocols have them
        return _Head(of_prediction, headers, "2" if http2 else "1.1", Began(perf_counter_ns(), time_ns()))

    def timeout_s(self, head: _Head) -> float | None:
        """Return how long the caller waits."""
        return self.prediction.timeout_s(head.of_prediction)

    def submit(self, head: _Head, body: bytes, receiver: Receiver[Body], timeout_s: float | None = None) -> None:
        """Queue a whole request; `receiver` takes the answer, a failure as it is to be sent."""
        observation = self._begin(head)
        observation.request_bytes = len(body)
        if self.observer.inputs:
            observation.input = body[:INPUT_BYTES]
        answer = self.under_way[id(head.headers)] = _Answer(self, observation, receiver)
        token = current.set(observation)
        try:
            self.prediction.submit(head.of_prediction, body, answer, timeout_s)
        except Exception as error:  # noqa: BLE001 # each is answered, foreseen or not
            answer.deliver(error)
        finally:
            current.reset(token)

    def fail(self, error: Exception, head: _Head | None = None) -> None:
        """Count a request that came to nothing before it was queued."""
        self.prediction.fail(error)
        if head is not None and isinstance(error, RequestError):
            observation = self._begin(head)
            observation.error = error
            observation.status = error.status
            self.observer.end(observation)

    def refuse(self, error: RequestError, headers: Headers) -> Reply:
        """Return how a caller is told of a failure that no answer was waited for any more."""
        reply = self.prediction.refuse(error, headers)
        answer = self.under_way.get(id(headers))
        if answer is not None:  # the drain's time is up
            answer.observation.error = error
            answer.end(reply)
        given = dict(headers).get(REQUEST_ID)
        return reply if given is None else reply._replace(headers=_with(reply.headers, ((REQUEST_ID, given),)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of whatever size, type and headers, which is observed as those of any path are."""
        await self.prediction(scope, receive, send)

    def _begin(self, head: _Head) -> Observation:
        return self.observer.begin("POST", self._path, head.headers, head.http_version, head.began)


class _Answer:
    """Takes an answer on its way to who waits for it."""

    __slots__ = ("_prediction", "_receiver", "observation")

    def __init__(self, prediction: ObservedPrediction, observation: Observation, receiver: Receiver[Body]) -> None:
        self._prediction = prediction
        self.observation = observation
        self._receiver = receiver

    def left(self) -> bool:
        """Return whether nobody waits any more."""
        return self._receiver.left()

    def deliver(self, answer: Body | Exception) -> None:
        """Hand on the answer, or what the caller is told in its stead."""
        observation = self.observation
        if isinstance(answer, bytes):
            reply = Reply(answer, JSON, observation.answer_fields)
        elif isinstance(answer, Exception):
            observation.error = error = failure(answer, observation.headers)
            reply = _named(observation, self._prediction.prediction.refuse(error, observation.headers))
        else:
            reply = _named(observation, answer)
        try:
            self._receiver.deliver(reply)
        finally:
            self.end(reply)

    def end(self, reply: Reply) -> None:
        """Tell of the request, once."""
        observation = self.observation
        if self._prediction.under_way.pop(id(observation.headers), None) is not None:
            observation.status = reply.status
            observation.response_bytes = len(reply.body)
            self._prediction.observer.end(observation)


def _named(observation: Observation, reply: Reply) -> Reply:
    """Return an answer that names its request."""
    return reply._replace(headers=_with(reply.headers, observation.answer_fields))


def _with(fields: Fields, more: Fields) -> Fields:
    """Return headers and more of them, the request's id once."""
    if any(name == REQUEST_ID for name, _ in fields):
        more = tuple(field for field in more if field[0] != REQUEST_ID)
    return (*fields, *more)
