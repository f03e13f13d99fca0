"""FastAPI with a pydantic record and scikit-learn's pipeline: the most common first server."""

import argparse

import joblib
import numpy as np
import pandas as pd
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

NULLS = {"age": np.nan, "fare": np.nan, "embarked": ""}


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


def application(model: str) -> FastAPI:
    """Return an application that serves the pipeline in the file `model` at POST /predict."""
    app = FastAPI()
    pipeline = joblib.load(model)
    classes = pipeline.classes_.tolist()
    survived = classes.index("survived")

    @app.post("/predict")
    async def predict(passenger: Passenger) -> Prediction:
        values = passenger.model_dump().items()
        row = pd.DataFrame([{name: NULLS[name] if value is None else value for name, value in values}])
        probabilities = pipeline.predict_proba(row)[0]
        return Prediction(label=classes[int(probabilities.argmax())], probability=float(probabilities[survived]))

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    app = application(arguments.model)
    uvicorn.run(app, port=arguments.port, loop="uvloop", http="httptools", access_log=False, log_level="warning")
