"""Server and model metadata of the Open Inference Protocol and Triton's extensions.

Each description is the JSON of the REST response; the RPC messages use the same names.
"""

from typing import Any, Final

from server import VERSION
from server.inference.runner import Runner, Runners
from server.models.repository import Repository, State
from server.settings import Settings

READY: Final = "READY"
EXTENSIONS: Final = (
    "binary_tensor_data",
    "classification",
    "statistics",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
)
"""Supported protocol extensions, by Triton's names."""
_DATA_TYPES: Final = {"BYTES": "TYPE_STRING"}
"""Datatypes whose name in a configuration is not TYPE_ plus the protocol's name."""

Description = dict[str, Any]
"""A JSON object."""


class MetadataService:
    """Current descriptions of the server and its models."""

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Describe the models of `repository`, with the statistics of `runners`."""
        self._repository = repository
        self._runners = runners
        self._settings = settings

    def server(self) -> Description:
        """Return the server's name, version and protocol extensions."""
        return {"name": "lifeboat", "version": VERSION, "extensions": EXTENSIONS}

    def model(self, name: str, version: str | None) -> Description:
        """Return a model's versions, platform, inputs and outputs. Raises NotFound.

        In shapes, -1 stands for the number of rows.
        """
        manifest = self._repository.resolve(name, version).manifest
        return {
            "name": name,
            "versions": [model.version for model in self._repository.versions(name).models.values()],
            "platform": "onnx_onnxv1",
            "inputs": [{"name": f.name, "datatype": f.datatype, "shape": [-1, 1]} for f in manifest.features],
            "outputs": [{"name": o.name, "datatype": o.datatype, "shape": o.shape} for o in manifest.outputs],
        }

    def configuration(self, name: str, version: str | None) -> Description:
        """Return a version's configuration in Triton's format. Raises NotFound."""
        manifest = self._repository.resolve(name, version).manifest
        return {
            "name": name,
            "platform": "onnxruntime_onnx",
            "backend": "onnxruntime",
            "version_policy": {"specific": {"versions": [*self._repository.versions(name).models]}},
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

    def statistics(self, name: str | None = None, version: str | None = None) -> Description:
        """Return the statistics of all models, of one model, or of one version.

        Raises NotFound.
        """
        if name is None:
            versions = self._repository.models.values()
            models = [model for versions in versions for model in versions.models.values()]
        elif version is None:
            models = [*self._repository.versions(name).models.values()]
        else:
            models = [self._repository.resolve(name, version)]
        return {"model_stats": [_statistics(self._runners[model]) for model in models]}

    def index(self, *, ready: bool) -> list[Description]:
        """Return the state and the error of every version; with `ready`, only of ready versions.

        An entry without a version describes the whole model.
        """
        return [_entry(each) for each in self._repository.states() if each.is_ready or not ready]


def _entry(state: State) -> Description:
    return {
        "name": state.name,
        "version": state.version,
        "state": READY if state.is_ready else "UNAVAILABLE",
        "reason": state.reason,
    }


def _statistics(runner: Runner) -> Description:
    """Return one version's statistics.

    Request times are counted per request, run times per run of the model.
    """
    counters = runner.counters
    return {
        "name": runner.model.name,
        "version": runner.model.version,
        "last_inference": counters.last_run_unix_ms,
        "inference_count": counters.rows,
        "execution_count": counters.runs,
        "inference_stats": {
            "success": _duration(counters.requests, counters.request_ns),
            "fail": _duration(sum(counters.failures.values()), counters.failed_ns),
            "queue": _duration(counters.requests, counters.queue_ns),
            "compute_input": _duration(counters.runs, counters.input_ns),
            "compute_infer": _duration(counters.runs, counters.infer_ns),
            "compute_output": _duration(counters.runs, counters.output_ns),
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
