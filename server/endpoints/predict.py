"""POST /api/predict: feature records in, answers out."""

import msgspec
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from server.answers import answerer
from server.hot import Prediction, Predictions, RestPrediction, paths
from server.records import RecordDecoder
from server.replies import Headers
from server.repository import Repository
from server.runner import Runner, Runners, Work
from server.settings import Settings
from server.signature import Outputs


class Predictor(RestPrediction):
    """One model version behind the REST interface."""

    def __init__(self, runner: Runner, settings: Settings) -> None:
        """Do for the model of `runner` what need not be done for each request."""
        super().__init__(runner, settings.max_body_bytes)
        manifest = runner.model.manifest
        self._decode = RecordDecoder(
            runner.model.signature, settings.max_rows, settings.max_string_bytes, settings.max_json_depth
        ).decode
        self._answer = answerer(manifest)
        self._served = msgspec.json.encode({"model": manifest.name, "version": str(manifest.version)})[:-1] + b","

    def decode(self, headers: Headers, body: bytes) -> Work:  # noqa: ARG002
        """Return the columns of `{"pclass":1,...}` or `{"records":[{...},...]}`, and what answers in kind."""
        columns, several = self._decode(body)
        return Work(self.runner, columns, len(columns[0]), self._encode_several if several else self._encode_one)

    def _encode_one(self, outputs: Outputs, start: int, _stop: int) -> bytes:
        return self._served + msgspec.json.encode(self._answer(outputs, start))[1:]

    def _encode_several(self, outputs: Outputs, start: int, stop: int) -> bytes:
        answers = [self._answer(outputs, row) for row in range(start, stop)]
        return self._served + b'"predictions":' + msgspec.json.encode(answers) + b"}"


class PredictEndpoint:
    """The routes that answer predictions, for the default model and for a named model, version or label."""

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Answer from the models of `repository`."""
        self._repository = repository
        self._predictors = Predictions(runners, lambda runner: Predictor(runner, settings))

    def hot(self) -> dict[str, Prediction]:
        """Return what answers a POST to each path that is known now, and no other: made here, nobody waits for it."""
        self._predictors.keep()
        known: dict[str, Prediction] = {}
        if self._repository.default_model in self._repository.models:
            known["/api/predict"] = self._predictors[self._repository.resolve()]
        for path, model in paths(self._repository, "/api/models", labels=True):
            known[f"{path}/predict"] = self._predictors[model]
        return known

    def routes(self) -> list[Route]:
        """Return the routes: for the paths that are not known, which say what there is instead."""
        model = "/api/models/{model}"
        known = (
            "/api/predict",
            f"{model}/predict",
            f"{model}/versions/{{version}}/predict",
            f"{model}/labels/{{label}}/predict",
        )
        return [Route(path, self.predict, methods=["POST"]) for path in known]

    async def predict(self, request: Request) -> ASGIApp:
        """Answer `{"pclass":1,...}` or `{"records":[{...},...]}`."""
        where = request.path_params
        model = self._repository.resolve(where.get("model"), where.get("version"), where.get("label"))
        return self._predictors[model]
