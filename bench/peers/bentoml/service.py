"""BentoML service: one worker with adaptive batching."""

import os

import bentoml
import numpy as np
import onnxruntime as ort
from pydantic import BaseModel


class Passenger(BaseModel):
    """One passenger; null for an unknown value."""

    pclass: int
    sex: str
    age: float | None = None
    sibsp: int = 0
    parch: int = 0
    fare: float | None = None
    embarked: str | None = None


class Prediction(BaseModel):
    """The predicted class and the probability of survival."""

    label: str
    probability: float


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Titanic:
    """Service of the model file that the environment variable MODEL names."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
    async def predict(self, passengers: list[Passenger]) -> list[Prediction]:
        """Run the passengers of one batch together."""
        inputs = {
            "pclass": np.array([[each.pclass] for each in passengers], np.int64),
            "sex": np.array([[each.sex] for each in passengers], object),
            "age": np.array([[each.age] for each in passengers], np.float32),
            "sibsp": np.array([[each.sibsp] for each in passengers], np.int64),
            "parch": np.array([[each.parch] for each in passengers], np.int64),
            "fare": np.array([[each.fare] for each in passengers], np.float32),
            "embarked": np.array([[each.embarked or ""] for each in passengers], object),
        }
        labels, probabilities = self.session.run(None, inputs)
        pairs = zip(labels.tolist(), probabilities[:, 1].tolist(), strict=True)
        return [Prediction(label=label, probability=probability) for label, probability in pairs]
