"""POST /api/predict: feature records in, answers out; GET: one record as a query, and an answer that may be kept."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from server.answers import answerer
from server.batching import Waiter
from server.caching import PINNED, Fresh, Tags, moving
from server.hot import Prediction, Predictions, RestPrediction, awaited, paths
from server.load import Report, asks
from server.model import Model
from server.query import QueryDecoder
from server.records import RecordDecoder
from server.replies import JSON, Body, Headers, Reply
from server.repository import Repository
from server.requests import timeout
from server.responses import NOT_MODIFIED, envelope, failure, response
from server.runner import Runner, Runners, Supposed, Work
from server.settings import Settings
from server.signature import Outputs

_SUPPOSED = (b"lifeboat-drift", b"none")
"""The header of a request whose records are supposed: they are not what the model is asked about in earnest."""
_ASKED_BY = frozenset({"GET", "HEAD"})


class Predictor(RestPrediction):
    """One model version behind the REST interface."""

    def __init__(self, runner: Runner, settings: Settings) -> None:
        """Do for the model of `runner` what need not be done for each request."""
        super().__init__(runner, settings.max_body_bytes)
        manifest, signature = runner.model.manifest, runner.model.signature
        records = RecordDecoder(signature, settings.max_rows, settings.max_string_bytes, settings.max_json_depth)
        self._decode = records.decode
        self.query = QueryDecoder(records)
        self.tags = Tags(manifest, signature)
        self._answer = answerer(manifest)
        self._served = msgspec.json.encode({"model": manifest.name, "version": str(manifest.version)})[:-1] + b","

    def decode(self, headers: Headers, body: bytes) -> Work:
        """Return the columns of `{"pclass":1,...}` or `{"records":[{...},...]}`, and what answers in kind."""
        columns, several = self._decode(body)
        if not several:
            return Work(self.runner, columns, 1, self._encode_one)
        kind = Supposed if _SUPPOSED in headers else Work
        return kind(self.runner, columns, len(columns[0]), self._encode_several)

    def work(self, columns: Sequence[tuple[Any, ...]]) -> Work:
        """Return what is done for one record, of which `columns` has the value of each feature."""
        return Work(self.runner, columns, 1, self._encode_one)

    def _encode_one(self, outputs: Outputs, start: int, _stop: int) -> bytes:
        return self._served + msgspec.json.encode(self._answer(outputs, start))[1:]

    def _encode_several(self, outputs: Outputs, start: int, stop: int) -> bytes:
        answers = [self._answer(outputs, row) for row in range(start, stop)]
        return self._served + b'"predictions":' + msgspec.json.encode(answers) + b"}"


class QueryPrediction:
    """One model version behind a path that is asked by GET or HEAD, as an ASGI application."""

    def __init__(self, predictor: Predictor, cache_control: str) -> None:
        """Answer as `predictor` does; what it answers may be kept as `cache_control` says."""
        self._predictor = predictor
        self._cache_control = cache_control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say why not: see `failure`."""
        try:
            answer = await self._answer(scope, receive)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # nothing was sent: each can be answered
            answer = envelope(failure(error, scope["headers"]))
        await response(answer)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        """Return the answer to a query; 304 to who has it, for whom nothing is run. Raises RequestError."""
        predictor, headers = self._predictor, scope["headers"]
        try:
            timeout_s = timeout(scope)
            columns = predictor.query.decode(scope["query_string"])
        except Exception as error:
            predictor.fail(error)
            raise
        fresh = Fresh(predictor.tags.tag(columns, JSON), self._cache_control)
        if fresh.is_known(headers):
            return Reply(b"", JSON, fresh.fields(), NOT_MODIFIED)
        work = predictor.work(columns)
        waiter = Waiter[Body]()
        predictor.runner.submit(work, Report(work, waiter) if asks(headers) else waiter, timeout_s)
        answer = await awaited(waiter, receive)
        reply = Reply(answer, JSON) if isinstance(answer, bytes) else answer
        return reply._replace(headers=(*reply.headers, *fresh.fields()))


class PredictEndpoint:
    """The routes that answer predictions, for the default model and for a named model, version or label."""

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Answer from the models of `repository`."""
        self._repository = repository
        self._predictors = Predictions(runners, lambda runner: Predictor(runner, settings))
        self._moving = moving(settings.cache_s)

    def hot(self) -> dict[str, Prediction]:
        """Return what answers a POST to each path that is known now, and no other: made here, nobody waits for it."""
        self._predictors.keep()
        return {path: self._predictors[model] for path, model in self._paths()}

    def queries(self) -> dict[str, ASGIApp]:
        """Return what answers a GET or HEAD of each path that is known now."""
        return {path: self._query(path, model) for path, model in self._paths()}

    def _paths(self) -> list[tuple[str, Model]]:
        known = [(f"{path}/predict", model) for path, model in paths(self._repository, "/api/models", labels=True)]
        if self._repository.default_model in self._repository.models:
            known.append(("/api/predict", self._repository.resolve()))
        return known

    def _query(self, path: str, model: Model) -> QueryPrediction:
        is_pinned = path.endswith(f"/versions/{model.version}/predict")
        return QueryPrediction(self._predictors[model], PINNED if is_pinned else self._moving)

    def routes(self) -> list[Route]:
        """Return the routes: for the paths that are not known, which say what there is instead."""
        model = "/api/models/{model}"
        known = (
            "/api/predict",
            f"{model}/predict",
            f"{model}/versions/{{version}}/predict",
            f"{model}/labels/{{label}}/predict",
        )
        return [Route(path, self.predict, methods=["GET", "POST"]) for path in known]

    async def predict(self, request: Request) -> ASGIApp:
        """Answer `{"pclass":1,...}` or `{"records":[{...},...]}`, and a query by GET."""
        where = request.path_params
        model = self._repository.resolve(where.get("model"), where.get("version"), where.get("label"))
        return self._query(request.url.path, model) if request.method in _ASKED_BY else self._predictors[model]
