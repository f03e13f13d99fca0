"""A model that is made quickly: a spec with one cheap candidate, and a matching CSV file."""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

SPEC: Final = """
from sklearn.linear_model import LogisticRegression

from export.training.pipelines import pipeline
from export.spec import Spec
from server.models.manifest import Feature

TINY = Spec(
    name="tiny",
    description="Whether a point is above the line.",
    kind="binary",
    target="above",
    classes={0: "below", 1: "above"},
    positive_class="above",
    candidates=lambda features, seed: {"linear": pipeline(features, LogisticRegression())},
    features=(
        Feature(name="x", datatype="FP32", minimum=-100.0, maximum=100.0, description="Across.", example=1.0),
        Feature(name="y", datatype="FP32", minimum=-100.0, maximum=100.0, description="Up.", example=1.0),
    ),
)
"""


def write(folder: Path, spec: str = SPEC) -> list[str]:
    """Write the spec and its data into `folder`; return options for them and a repository there."""
    (folder / "tiny.py").write_text(spec)
    points().to_csv(folder / "tiny.csv", index=False)
    return [
        "--spec", str(folder / "tiny.py"), "--data", str(folder / "tiny.csv"), "--models", str(folder / "models"),
    ]  # fmt: skip


def points(rows: int = 300, seed: int = 0, noise: float = 0.5) -> pd.DataFrame:
    """Return points around a line; `noise` blurs on which side they are."""
    drawn = np.random.default_rng(seed)
    table = pd.DataFrame(drawn.normal(size=(rows, 2)).round(3), columns=["x", "y"])
    table["above"] = (table["y"] - table["x"] + drawn.normal(0, noise, rows) > 0).astype(int)
    return table
