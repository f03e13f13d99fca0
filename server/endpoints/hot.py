"""What answers predictions: found by path before the first request comes, called by every wire that carries HTTP."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from starlette.types import Receive, Scope

from server.batching import Receiver, Waiter
from server.errors import RequestError
from server.feed import Values
from server.model import Model
from server.repository import Repository
from server.requests import left, read_body
from server.runner import Encode, Runner

Headers = Iterable[tuple[bytes, bytes]]
"""Names, in lower case, and values."""

SHORT_BYTES: Final = 64 * 1024
"""Largest body that may be gathered without holding its sender back: what uvicorn itself reads ahead."""


class Prediction(ABC):
    """One model version behind one interface: decode, run in company, encode."""

    def __init__(self, runner: Runner, max_body_bytes: int) -> None:
        """Answer from the model of `runner`."""
        self.runner = runner
        self.max_body_bytes = max_body_bytes
        self.max_short_bytes = min(max_body_bytes, SHORT_BYTES)

    @abstractmethod
    def decode(self, headers: Headers, body: bytes) -> tuple[Sequence[Values], int, Encode]:
        """Return the columns of a request, its rows, and what encodes its answer. Raises RequestError."""

    def submit(self, headers: Headers, body: bytes, receiver: Receiver[bytes]) -> None:
        """Queue a whole request; `receiver` takes the body of the answer, in JSON. Raises RequestError."""
        try:
            columns, rows, encode = self.decode(headers, body)
        except RequestError as error:
            self.runner.counters.fail(error)
            raise
        self.runner.submit(columns, rows, encode, receiver)

    async def __call__(self, scope: Scope, receive: Receive) -> bytes:
        """Answer an ASGI request with the body of a 200 in JSON. Raises RequestError; Canceled if the caller left."""
        try:
            body = await read_body(scope, receive, self.max_body_bytes)
        except RequestError as error:
            self.runner.counters.fail(error)
            raise
        waiter = Waiter[bytes]()
        self.submit(scope["headers"], body, waiter)
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
