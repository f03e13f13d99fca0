"""/v2: REST interface of the Open Inference Protocol, version 2, with JSON and binary tensors."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from server.codecs.infer_request import TensorDecoder
from server.codecs.infer_response import LENGTH_HEADER, RequestedOutput, TensorEncoder
from server.codecs.infer_types import DecodedInferRequest
from server.http.handler import FastPathHandler
from server.http.header_numbers import whole_number
from server.http.message import ANY_BYTES, OCTET_STREAM, Body, Headers, HttpResponse
from server.http.responses import json_response
from server.http.routes import V2_MODEL_VERSIONS
from server.inference.metadata import MetadataService
from server.inference.runner import InferenceRequest, Runner, Runners, no_rows
from server.models.repository import Repository
from server.models.signature import Outputs
from server.rest.handler import HandlerCache, RestHandler, paths
from server.settings import Settings

_LENGTH_NAME: Final = LENGTH_HEADER.decode()


class Inferrer(RestHandler):
    """Infer handler of one model version."""

    media_types = ANY_BYTES

    def __init__(self, runner: Runner, settings: Settings) -> None:
        """Prepare decoder and encoder for the model of `runner`, once for all requests."""
        super().__init__(runner, settings)
        self._decode = TensorDecoder(
            runner.model.signature, settings.max_rows, settings.max_string_bytes, settings.max_json_depth
        ).decode
        self._encoder = TensorEncoder(runner.model.manifest)

    def decode(self, headers: Headers, body: bytes) -> InferenceRequest[Body]:
        """Return the input columns of the request, with the encoder for the requested outputs."""
        inference = self._decode(body, _json_bytes(headers))
        encode = partial(self._respond, inference, self._encoder.requested(inference))
        if not inference.rows:
            return no_rows(self.runner, encode, inference.timeout_s)
        return InferenceRequest(self.runner, inference.columns, inference.rows, encode, inference.timeout_s)

    def _respond(
        self,
        inference: DecodedInferRequest,
        requested: Sequence[RequestedOutput],
        outputs: Outputs,
        start: int,
        stop: int,
    ) -> Body:
        """Return the response body for rows `start` to `stop`: JSON, followed by any binary tensors."""
        document, blobs = self._encoder.encode(inference, requested, outputs, start, stop)
        if not blobs:
            return document
        headers = ((LENGTH_HEADER, b"%d" % len(document)),)
        return HttpResponse(b"".join((document, *blobs)), OCTET_STREAM, headers)


def _json_bytes(headers: Headers) -> int | None:
    """Return the number of JSON bytes in a body; None if all are JSON.

    Raises InvalidArgument if the length header is not a number.
    """
    for name, value in headers:
        if name == LENGTH_HEADER:
            return whole_number(_LENGTH_NAME, value)
    return None


class V2Endpoint:
    """Health, metadata and inference routes of the Open Inference Protocol."""

    def __init__(
        self, repository: Repository, runners: Runners, settings: Settings, descriptions: MetadataService
    ) -> None:
        """Serve the models of `repository`."""
        self._repository = repository
        self._descriptions = descriptions
        self._inferrers = HandlerCache(runners, lambda runner: Inferrer(runner, settings))

    def fast_path_handlers(self) -> dict[str, FastPathHandler]:
        """Return the POST handler for each known path; drop the handlers of all other models."""
        self._inferrers.remove_unserved()
        return {f"{path}/infer": self._inferrers[model] for path, model in paths(self._repository, "/v2/models")}

    def routes(self) -> list[Route]:
        """Return the routes."""
        routes = [
            Route("/v2", self.server_metadata, methods=["GET"]),
            Route("/v2/health/live", self.live, methods=["GET"]),
            Route("/v2/health/ready", self.ready, methods=["GET"]),
        ]
        for model in V2_MODEL_VERSIONS:
            routes += [
                Route(model, self.model_metadata, methods=["GET"]),
                Route(f"{model}/ready", self.model_ready, methods=["GET"]),
                Route(f"{model}/infer", self.infer, methods=["POST"]),
            ]
        return routes

    async def live(self, _request: Request) -> Response:
        """Return 200 `{"live":true}`."""
        return json_response({"live": True})

    async def ready(self, _request: Request) -> Response:
        """Return 200 `{"ready":true}`: the port opens only after every model is loaded, checked and warm."""
        return json_response({"ready": True})

    async def server_metadata(self, _request: Request) -> Response:
        """Return the name and version of the server and its protocol extensions."""
        return json_response(self._descriptions.server())

    async def model_metadata(self, request: Request) -> Response:
        """Return the versions, platform, inputs and outputs of a model. A dimension of -1 is the number of rows."""
        return json_response(self._descriptions.model(request.path_params["model"], request.path_params.get("version")))

    async def model_ready(self, request: Request) -> Response:
        """Return 200 `{"name":...,"ready":true}` for a version that is served, 404 for an unknown version."""
        model = self._repository.resolve(request.path_params["model"], request.path_params.get("version"))
        return json_response({"name": model.name, "ready": True})

    async def infer(self, request: Request) -> ASGIApp:
        """Run the model on the input tensors of the request and return its output tensors."""
        model = self._repository.resolve(request.path_params["model"], request.path_params.get("version"))
        return self._inferrers[model]
