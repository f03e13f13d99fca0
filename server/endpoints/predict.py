"""POST /api/predict: feature records in, answers out."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.answers import answerer
from server.model import Model
from server.records import RecordDecoder
from server.repository import Repository
from server.requests import JSON, read_body
from server.settings import Settings


class Predictor:
    """One model behind the REST interface: decode, run, encode."""

    def __init__(self, model: Model, max_rows: int) -> None:
        """Do for `model` what need not be done for each request."""
        self._model = model
        self._decoder = RecordDecoder(model.signature, max_rows)
        self._answers = answerer(model.manifest)

    def predict(self, body: bytes) -> bytes:
        """Answer one request's body. Raises InvalidArgument, PayloadTooLarge."""
        columns, several = self._decoder.decode(body)
        answers = self._answers(self._model.run(columns))
        served: dict[str, Any] = {"model": self._model.name, "version": self._model.version}
        return msgspec.json.encode(served | ({"predictions": answers} if several else answers[0]))


class PredictEndpoint:
    """The routes that answer predictions, for the default model and for a named model, version or label."""

    def __init__(self, repository: Repository, settings: Settings) -> None:
        """Prepare every model that is served, so that no caller waits for it."""
        self._repository = repository
        self._settings = settings
        self._predictors = {
            model: Predictor(model, settings.max_rows)
            for versions in repository.models.values()
            for model in versions.models.values()
        }

    def routes(self) -> list[Route]:
        """Return the routes."""
        model = "/api/models/{model}"
        paths = (
            "/api/predict",
            f"{model}/predict",
            f"{model}/versions/{{version}}/predict",
            f"{model}/labels/{{label}}/predict",
        )
        return [Route(path, self.predict, methods=["POST"]) for path in paths]

    async def predict(self, request: Request) -> Response:
        """Answer `{"pclass":1,...}` or `{"records":[{...},...]}`."""
        where = request.path_params
        model = self._repository.resolve(where.get("model"), where.get("version"), where.get("label"))
        body = await read_body(request, self._settings.max_body_bytes)
        return Response(self._predictors[model].predict(body), media_type=JSON)
