"""FastAPI with a pydantic record and one `session.run` in the endpoint: the common ONNX server."""

import argparse

import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import FastAPI
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


def session(model: str) -> ort.InferenceSession:
    """Open the model with one thread that does not spin."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def application(model: str) -> FastAPI:
    """Return an application that serves `model` at POST /predict."""
    app = FastAPI()
    run = session(model).run

    @app.post("/predict")
    async def predict(passenger: Passenger) -> Prediction:
        unknown = np.nan
        inputs = {
            "pclass": np.array([[passenger.pclass]], np.int64),
            "sex": np.array([[passenger.sex]], object),
            "age": np.array([[unknown if passenger.age is None else passenger.age]], np.float32),
            "sibsp": np.array([[passenger.sibsp]], np.int64),
            "parch": np.array([[passenger.parch]], np.int64),
            "fare": np.array([[unknown if passenger.fare is None else passenger.fare]], np.float32),
            "embarked": np.array([[passenger.embarked or ""]], object),
        }
        label, probabilities = run(None, inputs)
        return Prediction(label=label[0], probability=float(probabilities[0, 1]))

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    app = application(arguments.model)
    uvicorn.run(app, port=arguments.port, loop="uvloop", http="httptools", access_log=False, log_level="warning")
