"""Small models of every kind with their data, as inputs of the model card."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline

from export.conversion.convert import convert
from export.data.dataset import Dataset, Split, Table, dataset
from export.data.source import Source
from export.pipeline.manifest_builder import Evidence, manifest
from export.spec import Spec
from export.training.metrics import scores
from export.training.pipelines import pipeline
from export.training.train import Fitted, predict
from server.models.manifest import Feature, Golden, Manifest, Parity
from server.models.session import Model
from server.models.training_metadata import Candidate, Metrics, Spread

SEED: Final = 7
X: Final = Feature(
    name="x", datatype="FP32", nullable=True, null_value="NaN", minimum=-9, maximum=9, description="Size.", example=0.5
)
N: Final = Feature(name="n", datatype="INT64", minimum=0, description="Number.", example=1)
FLAG: Final = Feature(name="flag", datatype="BOOL", description="Whether.", example=True)
SIDE: Final = Feature(
    name="side", datatype="BYTES", categories=["left", "right", "none"], description="Side.", example="left"
)
WORD: Final = Feature(name="word", datatype="BYTES", nullable=True, null_value="", description="Word.", example="a")
FEATURES: Final = (X, N, FLAG, SIDE, WORD)


@dataclass(frozen=True, slots=True)
class Carded:
    """The inputs of a card, and the pipeline that the model was converted from."""

    manifest: Manifest
    model: Model
    data: Dataset
    part: Split
    pipeline: Pipeline


def binary(rows: int = 300, held_out: int = 100, positive: str = "yes") -> Carded:
    """Return a classifier with two classes."""
    cells = table(rows)
    chance = 1 / (1 + np.exp(-2 * cells["z"] - (cells["side"] == "left")))
    cells["y"] = np.where(np.random.default_rng(1).random(rows) < chance, "1", "0")
    classes: dict[str | int, str] = {"0": "no", "1": positive}
    return made(spec("binary", classes, positive), cells, held_out)


def multiclass(rows: int = 300, held_out: int = 100, classes: Sequence[str] = ("low", "mid", "top")) -> Carded:
    """Return a classifier with several classes, each with as many rows."""
    cells = table(rows)
    cells["y"] = (cells["z"].argsort().argsort() * len(classes) // rows).astype(str)
    return made(spec("multiclass", dict(enumerate(classes))), cells, held_out)


def regression(rows: int = 300, held_out: int = 100) -> Carded:
    """Return a regression model."""
    cells = table(rows)
    cells["y"] = (3 * cells["z"] + np.random.default_rng(2).normal(0, 1, rows)).round(3).astype(str)
    return made(spec("regression", {}), cells, held_out)


def table(rows: int) -> pd.DataFrame:
    """Return a table with various datatypes. The target depends on `z`, which is no feature."""
    drawn = np.random.default_rng(0)
    z = drawn.normal(0, 1, rows)
    return pd.DataFrame(
        {
            "z": z,
            "x": [f"{each:.3f}" if there else None for each, there in zip(z, drawn.random(rows) > 0.1, strict=True)],
            "n": drawn.integers(0, 5, rows).astype(str),
            "flag": np.where(drawn.random(rows) > 0.5, "true", "false"),
            "side": np.where(drawn.random(rows) > 0.3, "left", "right"),
            "word": [["a", "b", "$c_1$", None][place] for place in drawn.integers(0, 4, rows)],
        }
    )


def spec(kind: Any, classes: Mapping[str | int, str], positive: str | None = None) -> Spec:  # noqa: ANN401 # a Kind
    """Return a spec with one cheap candidate."""
    return Spec(
        name=f"small_{kind}",
        description="A small model.",
        kind=kind,
        target="y",
        features=FEATURES,
        classes=classes,
        positive_class=positive,
        limits=("Not for people.",),
    )


def made(described: Spec, cells: pd.DataFrame, held_out: int) -> Carded:
    """Fit, convert and describe a model; the first rows are held out."""
    read = Table("small.csv", cells, hashlib.sha256(cells.to_csv().encode()).hexdigest(), "small.csv")
    data = dataset(read, described)
    first = np.arange(len(data.y)) < held_out
    part = Split(data.X[~first], data.X[first], data.y[~first], data.y[first], first)
    estimator = Ridge() if described.kind == "regression" else LogisticRegression()
    fitted = pipeline(described.features, estimator).fit(part.X_train, part.y_train)
    converted = convert(fitted, described.features, len(described.classes))
    candidates = {"plain": Candidate(mean=0.5, deviation=0.1)}
    evidence = Evidence(
        Source(described, data, part, SEED),
        Fitted("plain", None, "log_loss" if described.classes else "rmse", fitted, candidates),
        metrics(described, fitted, part),
        converted,
        Parity(rows=330, label_flips=0, max_abs_difference=1e-7, tolerance=1e-5, edge_rows=20, threshold_rows=10),
        Golden(records=[], outputs={}, tolerance=0),
        1,
    )
    told = manifest(3, evidence)
    return Carded(told, Model(told, converted.model), data, part, fitted)


def metrics(described: Spec, fitted: Pipeline, part: Split) -> Metrics:
    """Return the scores on the held-out rows, with invented intervals and spreads."""
    classes = [] if described.kind == "regression" else [*fitted.classes_]
    told = scores(part.y_test, predict(described, fitted, part.X_test), classes, described.positive_class)
    spread = Spread(mean=told, deviation=dict.fromkeys(told, 0.01))
    return Metrics(
        held_out_rows=len(part.y_test),
        held_out=told,
        intervals={name: [value - 0.1, value + 0.1] for name, value in told.items()},
        baseline=told,
        seeds=20,
        over_seeds=spread,
        baseline_over_seeds=spread,
    )
