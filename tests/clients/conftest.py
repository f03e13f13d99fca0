"""Fixtures: records for the tests of public clients, and onnxruntime's outputs for them."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import pytest

from tests.passenger import DATATYPES

MODEL: Final = Path(__file__).parents[2] / "models" / "titanic" / "1" / "model.onnx"
NULLS: Final = {"age": np.nan, "fare": np.nan, "embarked": ""}
DTYPES: Final = {"INT64": np.int64, "FP32": np.float32, "BYTES": object}


@pytest.fixture(scope="session")
def records(passengers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return some passengers, including those with a missing value."""
    return passengers[::40] + [each for each in passengers if each["embarked"] is None or each["fare"] is None]


@pytest.fixture(scope="session")
def expected(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return onnxruntime's outputs for the records."""
    session = onnxruntime.InferenceSession(MODEL)
    feed = {}
    for name, datatype in DATATYPES.items():
        values = [NULLS[name] if record[name] is None else record[name] for record in records]
        feed[name] = np.array(values, dtype=DTYPES[datatype]).reshape(-1, 1)
    label, probabilities = session.run(["label", "probabilities"], feed)
    return {"label": label.tolist(), "probabilities": probabilities.astype(np.float64).tolist()}
