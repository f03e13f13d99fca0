"""What answers predictions: found by path before the first request comes, called by every wire that carries HTTP."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, Final, Generic, TypeVar

from starlette.types import Receive, Scope

from server.batching import Receiver, Waiter
from server.errors import DeadlineExceeded, RequestError
from server.model import Model
from server.replies import JSON, Body
from server.repository import Repository
from server.requests import UNSTATED, left, read_body, timeout
from server.runner import Runner, Runners, Work

Headers = Iterable[tuple[bytes, bytes]]
"""Names, in lower case, and values."""

SHORT_BYTES: Final = 64 * 1024
"""Largest body that may be gathered without holding its sender back: what uvicorn itself reads ahead."""


class Prediction(ABC):
    """One model version behind one interface: decode, run in company, encode."""

    media_types: ClassVar[tuple[str, ...]] = (JSON,)
    """What a body may be stated to be."""

    def __init__(self, runner: Runner, max_body_bytes: int) -> None:
        """Answer from the model of `runner`."""
        self.runner = runner
        self.max_body_bytes = max_body_bytes
        self.max_short_bytes = min(max_body_bytes, SHORT_BYTES)
        self.plain_types = frozenset(name.encode() for name in (*self.media_types, *UNSTATED))

    @abstractmethod
    def decode(self, headers: Headers, body: bytes) -> Work:
        """Return what a request asks for. Raises RequestError."""

    def submit(self, headers: Headers, body: bytes, receiver: Receiver[Body], timeout_s: float | None = None) -> None:
        """Queue a whole request; `receiver` takes the answer. Raises RequestError."""
        try:
            work = self.decode(headers, body)
        except Exception as error:
            self.runner.counters.fail(error)
            raise
        given = [each for each in (timeout_s, work.timeout_s) if each is not None]
        self.runner.submit(work, receiver, min(given) if given else None)

    async def __call__(self, scope: Scope, receive: Receive) -> Body:
        """Return the answer to an ASGI request; nothing is sent. Raises RequestError; Canceled if the caller left."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            timeout_s = timeout(scope)
            async with asyncio.timeout(timeout_s):
                body = await read_body(scope, receive, self.max_body_bytes, self.media_types)
        except TimeoutError:
            late = DeadlineExceeded("the deadline passed before the request was whole")
            self.runner.counters.fail(late)
            raise late from None
        except RequestError as error:
            self.runner.counters.fail(error)
            raise
        left_s = None if timeout_s is None else max(0.0, timeout_s - (loop.time() - began_s))
        waiter = Waiter[Body]()
        self.submit(scope["headers"], body, waiter, left_s)
        watch = asyncio.ensure_future(left(receive, waiter.deliver))
        try:
            return await waiter.answer()
        finally:
            watch.cancel()


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
            served = set(self._runners)
            self._made = {each: made for each, made in self._made.items() if each in served}
            self._made[runner] = self._make(runner)
        return self._made[runner]
