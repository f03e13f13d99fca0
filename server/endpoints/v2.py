"""/v2: the Open Inference Protocol's REST interface, version 2, with JSON tensors."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from server.descriptions import Descriptions
from server.errors import InvalidArgument
from server.hot import Prediction, Predictions, RestPrediction, paths
from server.replies import ANY_BYTES, Headers
from server.repository import Repository
from server.responses import json_response
from server.runner import Runner, Runners, Work
from server.settings import Settings
from server.tensor_answers import LENGTH_HEADER, TensorEncoder
from server.tensors import TensorDecoder


class Inferrer(RestPrediction):
    """One model version behind the protocol's infer call."""

    media_types = ANY_BYTES

    def __init__(self, runner: Runner, settings: Settings) -> None:
        """Do for the model of `runner` what need not be done for each request."""
        super().__init__(runner, settings.max_body_bytes)
        self._decode = TensorDecoder(
            runner.model.signature, settings.max_rows, settings.max_string_bytes, settings.max_json_depth
        ).decode
        self._encoder = TensorEncoder(runner.model.manifest)

    def decode(self, headers: Headers, body: bytes) -> Work:
        """Return the columns of the request's tensors, and what answers with the outputs it asks for."""
        inference = self._decode(body, _json_bytes(headers))
        encode = partial(self._encoder.encode, inference, self._encoder.wanted(inference))
        return Work(self.runner, inference.columns, inference.rows, encode, inference.timeout_s)


def _json_bytes(headers: Headers) -> int | None:
    """Return how much of a body is JSON, None for all of it. Raises InvalidArgument for a length that is none."""
    for name, value in headers:
        if name == LENGTH_HEADER:
            if not value.isdigit():
                raise InvalidArgument("inference-header-content-length: expected a whole number of bytes")
            return int(value)
    return None


class V2Endpoint:
    """Health, metadata and inference as any client of the protocol asks for them."""

    def __init__(
        self, repository: Repository, runners: Runners, settings: Settings, descriptions: Descriptions
    ) -> None:
        """Serve the models of `repository`."""
        self._repository = repository
        self._descriptions = descriptions
        self._inferrers = Predictions(runners, lambda runner: Inferrer(runner, settings))

    def hot(self) -> dict[str, Prediction]:
        """Return what answers a POST to each path that is known now, and keep no other."""
        self._inferrers.keep()
        return {f"{path}/infer": self._inferrers[model] for path, model in paths(self._repository, "/v2/models")}

    def routes(self) -> list[Route]:
        """Return the routes."""
        routes = [
            Route("/v2", self.server_metadata, methods=["GET"]),
            Route("/v2/health/live", self.live, methods=["GET"]),
            Route("/v2/health/ready", self.ready, methods=["GET"]),
        ]
        for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                Route(model, self.model_metadata, methods=["GET"]),
                Route(f"{model}/ready", self.model_ready, methods=["GET"]),
                Route(f"{model}/infer", self.infer, methods=["POST"]),
            ]
        return routes

    async def live(self, _request: Request) -> Response:
        """Answer 200 `{"live":true}`."""
        return json_response({"live": True})

    async def ready(self, _request: Request) -> Response:
        """Answer 200 `{"ready":true}`: the port opens only when every model is loaded, checked and warm."""
        return json_response({"ready": True})

    async def server_metadata(self, _request: Request) -> Response:
        """Answer the server's name, version and the protocol extensions it has."""
        return json_response(self._descriptions.server())

    async def model_metadata(self, request: Request) -> Response:
        """Answer the model's versions, platform, inputs and outputs; -1 is the number of rows."""
        return json_response(self._descriptions.model(request.path_params["model"], request.path_params.get("version")))

    async def model_ready(self, request: Request) -> Response:
        """Answer 200 `{"name":...,"ready":true}` for a version that serves, 404 for one that isn't there."""
        model = self._repository.resolve(request.path_params["model"], request.path_params.get("version"))
        return json_response({"name": model.name, "ready": True})

    async def infer(self, request: Request) -> ASGIApp:
        """Run the model on the request's tensors and answer its output tensors."""
        model = self._repository.resolve(request.path_params["model"], request.path_params.get("version"))
        return self._inferrers[model]
