"""POST /api/explain: feature records in, answers out, each with what every feature adds to it."""

import asyncio
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import msgspec
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from server.counters import Counters
from server.errors import Canceled, DeadlineExceeded, ResourceExhausted
from server.model import Model
from server.observation import current
from server.replies import Body
from server.repository import Repository
from server.requests import read_body, timeout
from server.responses import envelope, failure, response
from server.runner import Runners
from server.settings import Settings

if TYPE_CHECKING:
    from server.explaining import Explainer, Turns

T = TypeVar("T")


class _Asked(NamedTuple):
    """The model version that is asked, what explains by it, and what counts that."""

    model: Model
    explainer: "Explainer"
    counters: Counters


class ExplainEndpoint:
    """The routes that explain answers, of the default model and of a named model, version or label."""

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Explain the answers of the models of `repository`."""
        self._repository = repository
        self._runners = runners
        self._settings = settings
        self._explainers: WeakKeyDictionary[Model, Explainer] = WeakKeyDictionary()
        self._turns: Turns | None = None
        self._under_way = 0

    def routes(self) -> list[Route]:
        """Return the routes."""
        model = "/api/models/{model}"
        paths = (
            "/api/explain",
            f"{model}/explain",
            f"{model}/versions/{{version}}/explain",
            f"{model}/labels/{{label}}/explain",
        )
        return [Route(path, self.explain, methods=["POST"]) for path in paths]

    async def explain(self, request: Request) -> ASGIApp:
        """Explain `{"pclass":1,...}` or `{"records":[{...},...]}`. What can't be is refused before it is read."""
        where = request.path_params
        model = self._repository.resolve(where.get("model"), where.get("version"), where.get("label"))
        if self._turns is None:
            await asyncio.to_thread(_import)
        explainer = self._explainer(model)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            counters = self._runners[model].explanations
            began_ns = time.perf_counter_ns()
            try:
                reply = await self._answer(_Asked(model, explainer, counters), scope, receive)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # nothing was sent: each can be answered
                told = failure(error, scope["headers"])
                counters.fail(told, time.perf_counter_ns() - began_ns)
                reply = envelope(told)
            else:
                counters.requests += 1
                counters.request_ns += time.perf_counter_ns() - began_ns
            await response(reply)(scope, receive, send)

        return answer

    def _explainer(self, model: Model) -> "Explainer":
        """Return what explains by a model, made when it is first asked for."""
        from server.explaining import Explainer, Turns

        if self._turns is None:
            self._turns = Turns()
        if model not in self._explainers:
            self._explainers[model] = Explainer(model.manifest, model.signature, self._settings)
        return self._explainers[model]

    async def _answer(self, asked: "_Asked", scope: Scope, receive: Receive) -> Body:
        """Return the answer to a request. Raises RequestError: DeadlineExceeded or Canceled, who is late or left."""
        loop = asyncio.get_running_loop()
        timeout_s = timeout(scope)
        due_s = None if timeout_s is None else loop.time() + timeout_s
        try:
            async with asyncio.timeout_at(due_s):
                body = await read_body(scope, receive, self._settings.max_body_bytes)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the request was whole") from None
        return await _while_awaited(self._explained(asked, body), receive, due_s)

    async def _explained(self, asked: "_Asked", body: bytes) -> Body:
        """Return the answer to a body. Raises ResourceExhausted where as many are under way as may be."""
        model, explainer, counters = asked
        columns, several = explainer.decode(body)
        if (observation := current.get()) is not None:
            observation.takes(model.name, model.version, len(columns[0]))
        if self._under_way >= self._settings.max_explanations:
            raise ResourceExhausted(f"{self._under_way} explanations are under way, as many as may be; try again")
        assert self._turns is not None  # noqa: S101 # made with the first explainer
        self._under_way += 1
        counters.pending += 1
        try:
            explanations = await explainer.explain(model, columns, self._turns, counters)
        finally:
            self._under_way -= 1
            counters.pending -= 1
        served: dict[str, Any] = {"model": model.name, "version": model.version}
        return msgspec.json.encode(served | ({"explanations": explanations} if several else explanations[0]))


async def _while_awaited(work: Coroutine[Any, Any, T], receive: Receive, due_s: float | None) -> T:
    """Return what `work` returns, and end it where its caller has left, or waits no longer than `due_s`."""
    loop = asyncio.get_running_loop()
    working, leaving = loop.create_task(work), loop.create_task(_left(receive))
    try:
        timeout_s = None if due_s is None else max(0.0, due_s - loop.time())
        done, _ = await asyncio.wait((working, leaving), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if working in done:
            return working.result()
        if leaving in done:
            raise Canceled("the caller left before its answer")
        raise DeadlineExceeded("the deadline passed before the answer")
    finally:
        leaving.cancel()
        if working.cancel():
            await asyncio.wait((working,))  # a run that is under way is the last


async def _left(receive: Receive) -> None:
    """Return when the caller has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _import() -> None:
    """Import what explanations need, when the first is asked for, in a thread: nobody's prediction waits for it."""
    import server.explaining  # noqa: F401
