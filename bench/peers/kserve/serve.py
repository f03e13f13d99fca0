"""KServe model server with a custom model, REST only."""

import argparse
import asyncio
from copy import deepcopy

import onnxruntime as ort
import uvloop
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.logging import KSERVE_LOG_CONFIG, configure_logging
from kserve.utils.numpy_codec import from_np_dtype
from kserve.utils.utils import generate_uuid


class OnnxModel(Model):
    """KServe model of one ONNX file."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self.path = path
        self.load()

    def load(self) -> bool:
        """Open the model with one thread that does not spin."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        self.names = [each.name for each in self.session.get_outputs()]
        self.ready = True
        return self.ready

    async def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:  # noqa: ARG002 # the interface's
        """Return the labels and the probabilities of one request's rows."""
        results = self.session.run(None, {each.name: each.as_numpy() for each in payload.inputs})
        outputs = []
        for name, result in zip(self.names, results, strict=True):
            output = InferOutput(name, list(result.shape), from_np_dtype(result.dtype))
            output.set_data_from_numpy(result, binary_data=False)
            outputs.append(output)
        return InferResponse(payload.id or generate_uuid(), self.name, outputs)


def quiet() -> None:
    """Log only warnings, and no requests."""
    logs = deepcopy(KSERVE_LOG_CONFIG)
    logs["loggers"]["uvicorn.access"] = {"handlers": [], "propagate": False}
    logs["loggers"]["kserve"]["level"] = logs["loggers"]["kserve.trace"]["level"] = "WARNING"
    configure_logging(logs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    quiet()
    uvloop.install()  # the server's own setting has no effect on the process that it starts
    asyncio.set_event_loop(asyncio.new_event_loop())
    server = ModelServer(http_port=arguments.port, enable_grpc=False, enable_latency_logging=False)
    server.start([OnnxModel("titanic", arguments.model)])
