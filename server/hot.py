"""What answers predictions: found by path before the first request comes, called by every wire that carries HTTP."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final, Generic, TypeVar

from starlette.types import Receive, Scope, Send

from server.batching import Receiver, Waiter
from server.errors import DeadlineExceeded, RequestError
from server.load import ASKS, Report, asks
from server.model import Model
from server.replies import JSON, Body, Headers, Reply
from server.repository import Repository
from server.requests import TIMEOUT_HEADER, UNSTATED, left, read_body, timeout
from server.responses import envelope, failure, response
from server.runner import Runner, Runners, Work

SHORT_BYTES: Final = 64 * 1024
"""Largest body that may be gathered without holding its sender back: what uvicorn itself reads ahead."""


_UNUSUAL: Final = frozenset({b"content-encoding", b"expect", TIMEOUT_HEADER, ASKS[0]})
"""Headers that ask for more than an answer."""


class _Reported(list[tuple[bytes, bytes]]):
    """The headers of a plain request that asks for a report."""


class Prediction(ABC):
    """One path that answers predictions: decode, run in company, encode."""

    def __init__(self, max_body_bytes: int) -> None:
        """Take bodies of up to `max_body_bytes`; whole at once those that are small."""
        self.max_body_bytes = max_body_bytes
        self.max_short_bytes = min(max_body_bytes, SHORT_BYTES)

    @abstractmethod
    def plain(self, headers: Headers, *, http2: bool) -> Any | None:  # noqa: ANN401 # each its own
        """Return what `submit` is to know of a request's headers, None where they ask for more than an answer.

        What is not plain is given to `__call__`, and so is a longer body than `max_short_bytes`.
        """

    def timeout_s(self, head: Any) -> float | None:  # noqa: ANN401, ARG002
        """Return how long the caller of a plain request waits, from when its head was there; None: no end of it."""
        return None

    @abstractmethod
    def submit(self, head: Any, body: bytes, receiver: Receiver[Body], timeout_s: float | None = None) -> None:  # noqa: ANN401
        """Queue a whole request, whose head is plain; `receiver` takes the answer. Raises RequestError."""

    @abstractmethod
    def fail(self, error: Exception, head: Any = None) -> None:  # noqa: ANN401
        """Count a request that came to nothing before it was queued; `head` is that of a plain one."""

    @abstractmethod
    def refuse(self, error: RequestError, headers: Headers) -> Reply:
        """Return how a caller is told of a failure."""

    @abstractmethod
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of whatever size, type and headers, as an ASGI application."""


class RestPrediction(Prediction):
    """One model version behind one REST interface."""

    media_types: ClassVar[tuple[str, ...]] = (JSON,)
    """What a body may be stated to be."""

    def __init__(self, runner: Runner, max_body_bytes: int) -> None:
        """Answer from the model of `runner`."""
        super().__init__(max_body_bytes)
        self.runner = runner
        self._plain_types = frozenset(name.encode() for name in (*self.media_types, *UNSTATED))

    def plain(self, headers: Headers, *, http2: bool) -> Headers | None:  # noqa: ARG002 # one for both
        """Return the headers where they state no more than a type and a length, or ask for a report."""
        plain = headers
        for name, value in headers:
            if name == b"content-type" and value not in self._plain_types:
                return None
            if name == b"content-length" and (not value.isdigit() or int(value) > self.max_short_bytes):
                return None
            if name in _UNUSUAL:
                if name != ASKS[0]:
                    return None
                if value == ASKS[1]:
                    plain = _Reported(headers)
        return plain

    @abstractmethod
    def decode(self, headers: Headers, body: bytes) -> Work:
        """Return what a request asks for. Raises RequestError."""

    def submit(self, head: Headers, body: bytes, receiver: Receiver[Body], timeout_s: float | None = None) -> None:
        """Queue a whole request; `receiver` takes the answer. Raises RequestError."""
        try:
            work = self.decode(head, body)
        except Exception as error:
            self.fail(error)
            raise
        if type(head) is _Reported:
            receiver = Report(work, receiver)
        self.runner.submit(work, receiver, timeout_s if work.timeout_s is None else sooner(timeout_s, work.timeout_s))

    def fail(self, error: Exception, head: Any = None) -> None:  # noqa: ANN401, ARG002
        """Count a request that came to nothing before it was queued."""
        self.runner.counters.fail(error)

    def refuse(self, error: RequestError, headers: Headers) -> Reply:  # noqa: ARG002 # the same for every caller
        """Return the error envelope, with the status of its code."""
        return envelope(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say why not: see `failure`."""
        try:
            answer = await self._run(scope, receive)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # nothing was sent: each can be answered
            answer = envelope(failure(error, scope["headers"]))
        await response(answer)(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive) -> Body:
        """Return the answer to a request. Raises RequestError; Canceled if the caller left."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            timeout_s = timeout(scope)
            async with asyncio.timeout(timeout_s):
                body = await read_body(scope, receive, self.max_body_bytes, self.media_types)
        except TimeoutError:
            late = DeadlineExceeded("the deadline passed before the request was whole")
            self.fail(late)
            raise late from None
        except RequestError as error:
            self.fail(error)
            raise
        left_s = None if timeout_s is None else max(0.0, timeout_s - (loop.time() - began_s))
        waiter = Waiter[Body]()
        headers = scope["headers"]
        self.submit(_Reported(headers) if asks(headers) else headers, body, waiter, left_s)
        return await awaited(waiter, receive)


async def awaited(waiter: Waiter[Body], receive: Receive) -> Body:
    """Return the answer to a request that was read whole. Raises what came in its stead, Canceled if it was left."""
    watch = asyncio.ensure_future(left(receive, waiter.deliver))
    try:
        return await waiter.answer()
    finally:
        watch.cancel()


def sooner(one_s: float | None, other_s: float | None) -> float | None:
    """Return the shorter of two waits; None is none."""
    if one_s is None or other_s is None:
        return other_s if one_s is None else one_s
    return min(one_s, other_s)


def paths(repository: Repository, root: str, *, labels: bool = False) -> Iterator[tuple[str, Model]]:
    """Yield the path below `root` of every model, version and, where the interface has them, label that is served."""
    for name, versions in repository.models.items():
        yield f"{root}/{name}", versions.default
        for number, model in versions.models.items():
            yield f"{root}/{name}/versions/{number}", model
        for label, number in versions.labels.items() if labels else ():
            yield f"{root}/{name}/labels/{label}", versions.models[number]


OnePrediction = TypeVar("OnePrediction", bound=Prediction)


class Predictions(Generic[OnePrediction]):
    """What answers for each model version on one interface, made when it is first asked for."""

    def __init__(self, runners: Runners, make: Callable[[Runner], OnePrediction]) -> None:
        """Make what is missing by `make`."""
        self._runners = runners
        self._make = make
        self._made: dict[Runner, OnePrediction] = {}

    def __getitem__(self, model: Model) -> OnePrediction:
        """Return what answers for `model`; what answered for models that are served no longer is forgotten."""
        runner = self._runners[model]
        if runner not in self._made:
            self._made[runner] = self._make(runner)
        return self._made[runner]

    def keep(self) -> None:
        """Forget what answers for models that are served no longer."""
        served = set(self._runners)
        self._made = {runner: made for runner, made in self._made.items() if runner in served}
