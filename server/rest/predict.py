"""POST /api/predict: predict for feature records; GET: predict for one record in the query, cacheable."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from server.codecs.predictions import prediction_encoder
from server.codecs.query import QueryDecoder
from server.codecs.records import RecordDecoder
from server.http.caching import PINNED, CacheValidator, ETagBuilder, moving
from server.http.handler import FastPathHandler
from server.http.load_report import Report, asks
from server.http.message import JSON, Body, Headers, HttpResponse
from server.http.request_body import timeout
from server.http.responses import NOT_MODIFIED, envelope, failure, response
from server.http.routes import API_MODEL_ROOTS
from server.inference.batcher import Waiter
from server.inference.runner import HypotheticalRequest, InferenceRequest, Runner, Runners
from server.models.repository import Repository
from server.models.session import Model
from server.models.signature import Outputs
from server.rest.handler import HandlerCache, RestHandler, paths, wait_for_answer
from server.settings import Settings

_SUPPOSED = (b"lifeboat-drift", b"none")
"""Header of a request with hypothetical records, which are not real inputs of the model."""
_ASKED_BY = frozenset({"GET", "HEAD"})


class Predictor(RestHandler):
    """Predict handler of one model version."""

    def __init__(self, runner: Runner, settings: Settings) -> None:
        """Prepare decoders and encoders for the model of `runner`, once for all requests."""
        super().__init__(runner, settings)
        manifest, signature = runner.model.manifest, runner.model.signature
        records = RecordDecoder(signature, settings.max_rows, settings.max_string_bytes, settings.max_json_depth)
        self._decode = records.decode
        self.query = QueryDecoder(records)
        self.tags = ETagBuilder(manifest, signature)
        self._answer = prediction_encoder(manifest)
        self._served = msgspec.json.encode({"model": manifest.name, "version": str(manifest.version)})[:-1] + b","

    def decode(self, headers: Headers, body: bytes) -> InferenceRequest[Body]:
        """Return the columns of `{"pclass":1,...}` or `{"records":[{...},...]}`, with a matching encoder."""
        columns, several = self._decode(body)
        if not several:
            return InferenceRequest(self.runner, columns, 1, self._encode_one)
        kind = HypotheticalRequest if _SUPPOSED in headers else InferenceRequest
        return kind(self.runner, columns, len(columns[0]), self._encode_several)

    def work(self, columns: Sequence[tuple[Any, ...]]) -> InferenceRequest[Body]:
        """Return the inference request for one record; `columns` holds the value of each feature."""
        return InferenceRequest(self.runner, columns, 1, self._encode_one)

    def _encode_one(self, outputs: Outputs, start: int, _stop: int) -> bytes:
        return self._served + msgspec.json.encode(self._answer(outputs, start))[1:]

    def _encode_several(self, outputs: Outputs, start: int, stop: int) -> bytes:
        answers = [self._answer(outputs, row) for row in range(start, stop)]
        return self._served + b'"predictions":' + msgspec.json.encode(answers) + b"}"


class QueryHandler:
    """ASGI application for GET and HEAD requests to one model version."""

    def __init__(self, predictor: Predictor, cache_control: str) -> None:
        """Return the responses of `predictor`, with `cache_control` as their Cache-Control."""
        self._predictor = predictor
        self._cache_control = cache_control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response to a request, or an error: see `failure`."""
        try:
            answer = await self._answer(scope, receive)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # nothing is sent yet: send any error
            answer = envelope(failure(error, scope["headers"]))
        await response(answer)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> HttpResponse:
        """Return the response to a query. If the client has it, return 304 without a run. Raises RequestError."""
        predictor, headers = self._predictor, scope["headers"]
        try:
            timeout_s = timeout(scope)
            columns = predictor.query.decode(scope["query_string"])
        except Exception as error:
            predictor.fail(error)
            raise
        fresh = CacheValidator(predictor.tags.tag(columns, JSON), self._cache_control)
        if fresh.is_known(headers):
            return HttpResponse(b"", JSON, fresh.fields(), NOT_MODIFIED)
        work = predictor.work(columns)
        waiter = Waiter[Body]()
        predictor.runner.submit(work, Report(work.runner, waiter) if asks(headers) else waiter, timeout_s)
        answer = await wait_for_answer(waiter, receive)
        reply = HttpResponse(answer, JSON) if isinstance(answer, bytes) else answer
        return reply._replace(headers=(*reply.headers, *fresh.fields()))


class PredictEndpoint:
    """Prediction routes of the default model and of a named model, version or label."""

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Serve the models of `repository`."""
        self._repository = repository
        self._predictors = HandlerCache(runners, lambda runner: Predictor(runner, settings))
        self._moving = moving(settings.cache_s)

    def fast_path_handlers(self) -> dict[str, FastPathHandler]:
        """Return the POST handler for each known path; drop the handlers of all other models.

        The handlers are created here, so that no request waits for that.
        """
        self._predictors.keep()
        return {path: self._predictors[model] for path, model in self._paths()}

    def queries(self) -> dict[str, ASGIApp]:
        """Return the GET and HEAD handler for each known path."""
        return {path: self._query(path, model) for path, model in self._paths()}

    def _paths(self) -> list[tuple[str, Model]]:
        known = [(f"{path}/predict", model) for path, model in paths(self._repository, "/api/models", labels=True)]
        if self._repository.default_model in self._repository.models:
            known.append(("/api/predict", self._repository.resolve()))
        return known

    def _query(self, path: str, model: Model) -> QueryHandler:
        is_pinned = path.endswith(f"/versions/{model.version}/predict")
        return QueryHandler(self._predictors[model], PINNED if is_pinned else self._moving)

    def routes(self) -> list[Route]:
        """Return the routes for unknown paths; they report which models, versions and labels exist."""
        return [Route(f"{root}/predict", self.predict, methods=["GET", "POST"]) for root in API_MODEL_ROOTS]

    async def predict(self, request: Request) -> ASGIApp:
        """Predict for `{"pclass":1,...}`, `{"records":[{...},...]}`, or a query by GET."""
        where = request.path_params
        model = self._repository.resolve(where.get("model"), where.get("version"), where.get("label"))
        return self._query(request.url.path, model) if request.method in _ASKED_BY else self._predictors[model]
