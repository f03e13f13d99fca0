"""MLServer with a custom runtime in its own process and adaptive batching."""

import argparse
import asyncio

import onnxruntime as ort
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri, install_uvloop_event_loop


class OnnxModel(MLModel):
    """MLServer runtime of the model file that the settings name."""

    async def load(self) -> bool:
        """Open the model with one thread that does not spin."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = await get_model_uri(self.settings)
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.names = [each.name for each in self.session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return the labels and the probabilities of one batch's rows."""
        inputs = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        results = zip(self.names, self.session.run(None, inputs), strict=True)
        outputs = [NumpyCodec.encode_output(name, result) for name, result in results]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)


async def main(port: int, model: str) -> None:
    """Serve until SIGTERM. The gRPC server can't be disabled, so it gets a free port."""
    settings = Settings(
        host="127.0.0.1",
        http_port=port,
        grpc_port=0,
        metrics_endpoint=None,
        parallel_workers=0,
        gzip_enabled=False,
        debug=False,
    )
    parameters = ModelParameters(uri=model)
    titanic = ModelSettings(
        name="titanic", implementation=OnnxModel, max_batch_size=32, max_batch_time=0.001, parameters=parameters
    )
    await MLServer(settings).start([titanic])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    install_uvloop_event_loop()
    asyncio.run(main(arguments.port, arguments.model))
