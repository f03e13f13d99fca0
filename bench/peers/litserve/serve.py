"""LitServe with batching and its ZeroMQ queue: one API process and one worker."""

import argparse
import signal
from typing import Any

import litserve as ls
import numpy as np

Record = dict[str, Any]
DTYPES = {
    "pclass": np.int64,
    "sex": object,
    "age": np.float32,
    "sibsp": np.int64,
    "parch": np.int64,
    "fare": np.float32,
    "embarked": object,
}


class Titanic(ls.LitAPI):
    """LitServe API from passenger records to labels and probabilities of survival."""

    def __init__(self, model: str) -> None:
        super().__init__(max_batch_size=32, batch_timeout=0.001)
        self.model = model

    def setup(self, device: str) -> None:  # noqa: ARG002 # the framework passes it by name
        """Open the model with one thread that does not spin, in the worker only."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])

    def batch(self, inputs: list[Record]) -> dict[str, np.ndarray]:
        """Stack the records into columns; null becomes NaN or the empty string."""
        return {
            name: np.array([[each[name] or "" if dtype is object else each[name]] for each in inputs], dtype)
            for name, dtype in DTYPES.items()
        }

    def predict(self, x: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run the batch once."""
        return self.session.run(None, x)

    def unbatch(self, output: list[np.ndarray]) -> list[Record]:
        """Return the prediction of each record."""
        pairs = zip(output[0].tolist(), output[1][:, 1].tolist(), strict=True)
        return [{"label": label, "probability": probability} for label, probability in pairs]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it stops its child processes only on SIGINT
    server = ls.LitServer(Titanic(arguments.model), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=arguments.port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
    )
