"""/v2: Triton's extensions of the Open Inference Protocol: statistics, model configuration, repository index."""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.endpoints.responses import json_response
from server.errors import InvalidArgument
from server.replies import ANY_BYTES
from server.repository import Repository, Versions
from server.requests import read_body
from server.runner import Runner, Runners
from server.settings import Settings

READY: Final = "READY"
_DATA_TYPES: Final = {"BYTES": "TYPE_STRING"}
"""Datatypes whose name in a configuration is not TYPE_ and the protocol's own."""


class TritonEndpoint:
    """What Triton's clients ask beside inference."""

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Tell of the models of `repository`."""
        self._repository = repository
        self._runners = runners
        self._settings = settings

    def routes(self) -> list[Route]:
        """Return the routes."""
        routes = [
            Route("/v2/models/stats", self.all_statistics, methods=["GET"]),
            Route("/v2/repository/index", self.index, methods=["POST"]),
        ]
        for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                Route(f"{model}/stats", self.statistics, methods=["GET"]),
                Route(f"{model}/config", self.configuration, methods=["GET"]),
            ]
        return routes

    async def all_statistics(self, _request: Request) -> Response:
        """Answer the statistics of every version of every model."""
        served = self._repository.models.values()
        return _statistics([self._runners[model] for versions in served for model in versions.models.values()])

    async def statistics(self, request: Request) -> Response:
        """Answer the statistics of every version of a model, or of the one that is named."""
        name, version = request.path_params["model"], request.path_params.get("version")
        if version is not None:
            return _statistics([self._runners[self._repository.resolve(name, version)]])
        return _statistics([self._runners[model] for model in self._repository.versions(name).models.values()])

    async def configuration(self, request: Request) -> Response:
        """Answer a version's configuration as Triton would have it."""
        name = request.path_params["model"]
        manifest = self._repository.resolve(name, request.path_params.get("version")).manifest
        served = [*self._repository.versions(name).models]
        return json_response(
            {
                "name": name,
                "platform": "onnxruntime_onnx",
                "backend": "onnxruntime",
                "version_policy": {"specific": {"versions": served}},
                "max_batch_size": self._settings.max_rows,
                "input": [
                    {"name": f.name, "data_type": _data_type(f.datatype), "dims": [1], "optional": f.nullable}
                    for f in manifest.features
                ],
                "output": [
                    {"name": o.name, "data_type": _data_type(o.datatype), "dims": o.shape[1:]} for o in manifest.outputs
                ],
                "instance_group": [{"kind": "KIND_CPU", "count": 1}],
                "dynamic_batching": {"max_queue_delay_microseconds": self._settings.queue_delay_us},
            }
        )

    async def index(self, request: Request) -> Response:
        """Answer every version there is, a bare array: its state, and why it isn't ready. `{"ready": true}`: those."""
        body = await read_body(request.scope, request.receive, self._settings.max_body_bytes, ANY_BYTES)
        try:
            asked = msgspec.json.decode(body or b"{}", type=_IndexRequest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"body: expected an object with ready at most: {error}") from None
        entries = [entry for versions in self._repository.models.values() for entry in _entries(versions)]
        entries += [_entry(name, "", reason) for name, reason in self._repository.failed.items()]
        return json_response([entry for entry in entries if not asked.ready or entry["state"] == READY])


class _IndexRequest(msgspec.Struct):
    ready: bool = False


def _entries(versions: Versions) -> list[dict[str, str]]:
    ready = [_entry(versions.name, model.version) for model in versions.models.values()]
    return ready + [_entry(versions.name, str(version), reason) for version, reason in versions.failed.items()]


def _entry(name: str, version: str, reason: str = "") -> dict[str, str]:
    return {"name": name, "version": version, "state": "UNAVAILABLE" if reason else READY, "reason": reason}


def _statistics(runners: list[Runner]) -> Response:
    return json_response({"model_stats": [_model_statistics(runner) for runner in runners]})


def _model_statistics(runner: Runner) -> dict[str, Any]:
    """Return one version's statistics; what is summed over requests counts requests, over runs of the model runs."""
    seen = runner.counters
    return {
        "name": runner.model.name,
        "version": runner.model.version,
        "last_inference": seen.last_run_unix_ms,
        "inference_count": seen.rows,
        "execution_count": seen.runs,
        "inference_stats": {
            "success": _duration(seen.requests, seen.request_ns),
            "fail": _duration(sum(seen.failures.values()), seen.failed_ns),
            "queue": _duration(seen.requests, seen.queue_ns),
            "compute_input": _duration(seen.runs, seen.input_ns),
            "compute_infer": _duration(seen.runs, seen.infer_ns),
            "compute_output": _duration(seen.runs, seen.output_ns),
            "cache_hit": _duration(0, 0),
            "cache_miss": _duration(0, 0),
        },
        "batch_stats": [],
        "memory_usage": [],
    }


def _duration(count: int, ns: int) -> dict[str, int]:
    return {"count": count, "ns": ns}


def _data_type(datatype: str) -> str:
    return _DATA_TYPES.get(datatype, f"TYPE_{datatype}")
