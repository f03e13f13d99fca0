"""A model with a column of every datatype, with and without nulls, and with unknown words."""

from collections.abc import Sequence
from typing import Final

from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from export.spec import Feature, Spec, pipeline


def _candidates(features: Sequence[Feature], seed: int) -> dict[str, Pipeline]:
    return {
        "logistic_regression": pipeline(features, LogisticRegression(max_iter=2000)),
        "hist_gradient_boosting": pipeline(features, HistGradientBoostingClassifier(max_iter=20, random_state=seed)),
    }


def _number(name: str, datatype: str, **members: object) -> Feature:
    made: dict[str, object] = {"minimum": -100.0 if "U" not in datatype else 0.0, "maximum": 100.0, "example": 3}
    return Feature(name=name, datatype=datatype, description=f"A number of {datatype}.", **made | members)  # type: ignore[arg-type]


MIXED: Final = Spec(
    name="mixed",
    description="Whether the numbers are large, in sum.",
    kind="binary",
    target="large",
    classes={"no": "no", "yes": "yes"},
    positive_class="yes",
    candidates=_candidates,
    features=(
        Feature(name="flag", datatype="BOOL", description="True or false.", example=True),
        Feature(name="word", datatype="BYTES", description="Any word.", example="one"),
        Feature(
            name="shade",
            datatype="BYTES",
            categories=["dark", "light"],
            nullable=True,
            null_value="",
            description="One of two.",
            example="dark",
        ),
        Feature(name="grade", datatype="INT32", categories=[1, 2, 3], description="One of three.", example=1),
        _number("tiny", "INT8"),
        _number("small", "INT16"),
        _number("whole", "INT32", nullable=True, null_value=-101, minimum=-101.0),
        _number("long", "INT64", nullable=True, null_value=-101, minimum=-101.0),
        _number("byte", "UINT8"),
        _number("half", "FP16", example=1.5),
        _number("single", "FP32", example=1.5, nullable=True, null_value="NaN"),
        _number("double", "FP64", example=1.5, nullable=True, null_value="NaN"),
    ),
)
