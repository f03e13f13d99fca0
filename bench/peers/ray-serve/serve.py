"""Ray Serve with one replica and batching, on its own cluster without a dashboard."""

import argparse
import os
import secrets
import signal
import sys
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.requests import Request

Record = dict[str, Any]


@serve.deployment(num_replicas=1, max_ongoing_requests=100, ray_actor_options={"num_cpus": 1})
class Titanic:
    """Deployment from passenger records to labels and probabilities of survival."""

    def __init__(self, model: str) -> None:
        import numpy as np
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.array = np.array
        kinds = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(string)": object}
        self.dtypes = {each.name: kinds[each.type] for each in self.session.get_inputs()}

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.001)
    async def predict(self, records: list[Record]) -> list[Record]:
        """Run the records of one batch together; null becomes NaN or the empty string."""
        inputs = {
            name: self.array([[each[name] or "" if dtype is object else each[name]] for each in records], dtype)
            for name, dtype in self.dtypes.items()
        }
        labels, probabilities = self.session.run(None, inputs)
        pairs = zip(labels.tolist(), probabilities[:, 1].tolist(), strict=True)
        return [{"label": label, "probability": probability} for label, probability in pairs]

    async def __call__(self, request: Request) -> Record:
        """Return the prediction for one record."""
        return await self.predict(await request.json())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # otherwise Ray writes a token to the home folder
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logs = LoggingConfig(log_level="WARNING", enable_access_log=False)
    try:
        serve.start(http_options=HTTPOptions(host="127.0.0.1", port=arguments.port), logging_config=logs)
        serve.run(Titanic.bind(arguments.model), route_prefix="/predict", logging_config=logs)
        signal.pause()
    finally:
        ray.shutdown()
