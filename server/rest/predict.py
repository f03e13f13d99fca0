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
from server.http.caching import PINNED_CACHE_CONTROL, CacheValidator, ETagBuilder, unpinned_cache_control
from server.http.handler import FastPathHandler
from server.http.load_report import Report, requests_report
from server.http.message import JSON, Body, Headers, HttpResponse
from server.http.request_body import timeout
from server.http.responses import NOT_MODIFIED, asgi_response, envelope, failure
from server.http.routes import API_MODEL_ROOTS
from server.inference.batcher import Waiter
from server.inference.runner import HypotheticalRequest, InferenceRequest, Runner, Runners
from server.models.repository import Repository
from server.models.session import Model
from server.models.signature import Outputs
from server.rest.handler import HandlerCache, RestHandler, paths, wait_for_response
from server.settings import Settings

_HYPOTHETICAL_HEADER = (b"lifeboat-drift", b"none")
"""Header of a request with hypothetical records, which are not real inputs of the model."""
_QUERY_METHODS = frozenset({"GET", "HEAD"})


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
        self._predict_row = prediction_encoder(manifest)
        self._response_prefix = (
            msgspec.json.encode({"model": manifest.name, "version": str(manifest.version)})[:-1] + b","
        )

    def decode(self, headers: Headers, body: bytes) -> InferenceRequest[Body]:
        """Return the columns of `{"pclass":1,...}` or `{"records":[{...},...]}`, with a matching encoder."""
        columns, several = self._decode(body)
        if not several:
            return InferenceRequest(self.runner, columns, 1, self._encode_one)
        request_class = HypotheticalRequest if _HYPOTHETICAL_HEADER in headers else InferenceRequest
        return request_class(self.runner, columns, len(columns[0]), self._encode_several)

    def single_request(self, columns: Sequence[tuple[Any, ...]]) -> InferenceRequest[Body]:
        """Return the inference request for one record; `columns` holds the value of each feature."""
        return InferenceRequest(self.runner, columns, 1, self._encode_one)

    def _encode_one(self, outputs: Outputs, start: int, _stop: int) -> bytes:
        return self._response_prefix + msgspec.json.encode(self._predict_row(outputs, start))[1:]

    def _encode_several(self, outputs: Outputs, start: int, stop: int) -> bytes:
        predictions = [self._predict_row(outputs, row) for row in range(start, stop)]
        return self._response_prefix + b'"predictions":' + msgspec.json.encode(predictions) + b"}"


class QueryHandler:
    """ASGI application for GET and HEAD requests to one model version."""

    def __init__(self, predictor: Predictor, cache_control: str) -> None:
        """Return the responses of `predictor`, with `cache_control` as their Cache-Control."""
        self._predictor = predictor
        self._cache_control = cache_control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response to a request, or an error: see `failure`."""
        try:
            response = await self._respond(scope, receive)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # nothing is sent yet: send any error
            response = envelope(failure(error, scope["headers"]))
        await asgi_response(response)(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive) -> HttpResponse:
        """Return the response to a query. If the client has it, return 304 without a run. Raises RequestError."""
        predictor, headers = self._predictor, scope["headers"]
        try:
            timeout_s = timeout(scope)
            columns = predictor.query.decode(scope["query_string"])
        except Exception as error:
            predictor.fail(error)
            raise
        validator = CacheValidator(predictor.tags.tag(columns, JSON), self._cache_control)
        if validator.is_known(headers):
            return HttpResponse(b"", JSON, validator.fields(), NOT_MODIFIED)
        request = predictor.single_request(columns)
        waiter = Waiter[Body]()
        predictor.runner.submit(
            request, Report(request.runner, waiter) if requests_report(headers) else waiter, timeout_s
        )
        body = await wait_for_response(waiter, receive)
        response = HttpResponse(body, JSON) if isinstance(body, bytes) else body
        return response._replace(headers=(*response.headers, *validator.fields()))


class PredictEndpoint:
    """Prediction routes of the default model and of a named model, version or label."""

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Serve the models of `repository`."""
        self._repository = repository
        self._predictors = HandlerCache(runners, lambda runner: Predictor(runner, settings))
        self._cache_control = unpinned_cache_control(settings.cache_s)

    def fast_path_handlers(self) -> dict[str, FastPathHandler]:
        """Return the POST handler for each known path; drop the handlers of all other models.

        The handlers are created here, so that no request waits for that.
        """
        self._predictors.remove_unserved()
        return {path: self._predictors[model] for path, model in self._paths()}

    def queries(self) -> dict[str, ASGIApp]:
        """Return the GET and HEAD handler for each known path."""
        return {path: self._query(path, model) for path, model in self._paths()}

    def _paths(self) -> list[tuple[str, Model]]:
        served = [(f"{path}/predict", model) for path, model in paths(self._repository, "/api/models", labels=True)]
        if self._repository.default_model in self._repository.models:
            served.append(("/api/predict", self._repository.resolve()))
        return served

    def _query(self, path: str, model: Model) -> QueryHandler:
        is_pinned = path.endswith(f"/versions/{model.version}/predict")
        return QueryHandler(self._predictors[model], PINNED_CACHE_CONTROL if is_pinned else self._cache_control)

    def routes(self) -> list[Route]:
        """Return the routes for unknown paths; they report which models, versions and labels exist."""
        return [Route(f"{root}/predict", self.predict, methods=["GET", "POST"]) for root in API_MODEL_ROOTS]

    async def predict(self, request: Request) -> ASGIApp:
        """Predict for `{"pclass":1,...}`, `{"records":[{...},...]}`, or a query by GET."""
        path_params = request.path_params
        model = self._repository.resolve(path_params.get("model"), path_params.get("version"), path_params.get("label"))
        return self._query(request.url.path, model) if request.method in _QUERY_METHODS else self._predictors[model]
