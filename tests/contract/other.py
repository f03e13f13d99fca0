"""Models besides Titanic's, exported by the command line, each from a spec and a CSV file."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes, load_wine
from sklearn.pipeline import Pipeline

from export.cli.commands import StepArtifact
from export.data.dataset import dataset, read_table
from export.pipeline.artifacts import TRAINED, load_result
from export.pipeline.steps import Trained
from export.spec import Spec, read_spec

ROOT: Final = Path(__file__).parents[2]
SPECS: Final = Path(__file__).parent / "specs"
NAMES: Final = ("wine", "diabetes", "mixed")


@dataclass(frozen=True, slots=True)
class Exported:
    """A model that was trained, verified and published, with its data and scikit-learn pipeline."""

    name: str
    spec: Spec
    X: pd.DataFrame
    pipeline: Pipeline

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows as a client sends them."""
        columns = {}
        for feature in self.spec.features:
            values = self.X[feature.name]
            empty = values.isna() if feature.is_float else values == feature.null
            columns[feature.name] = [
                None if null else value for value, null in zip(values.tolist(), empty.tolist(), strict=True)
            ]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def frame(name: str) -> pd.DataFrame:
    """Return a model's data: scikit-learn's for wine and diabetes, seeded random data for `mixed`."""
    if name == "wine":
        return pd.DataFrame(load_wine(as_frame=True).frame)
    if name == "diabetes":
        return pd.DataFrame(load_diabetes(as_frame=True, scaled=False).frame).astype({"sex": int})
    return _mixed()


def start(name: str, folder: Path) -> "subprocess.Popen[str]":
    """Start to train, verify and publish a model below `folder`, each step by its own command."""
    data = folder / f"{name}.csv"
    frame(name).to_csv(data, index=False)
    steps = [
        ["train", "--data", str(data), "--work", str(folder / "work")],
        ["verify", "--work", str(folder / "work")],
        ["publish", "--work", str(folder / "work"), "--models", str(folder / "models")],
    ]
    commands = [[*step, "--spec", str(SPECS / f"{name}.py")] for step in steps]
    code = f"import sys; from export.__main__ import main; sys.exit(max(map(main, {commands!r})))"
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def exported(name: str, folder: Path) -> Exported:
    """Return the published model below `folder`, with the trained pipeline."""
    spec = read_spec(SPECS / f"{name}.py")
    found = load_result(folder / "work" / name, TRAINED, StepArtifact, "train").result
    assert isinstance(found, Trained)
    return Exported(name, spec, dataset(read_table(folder / f"{name}.csv"), spec).X, found.fitted.pipeline)


def _mixed(rows: int = 400) -> pd.DataFrame:
    drawn = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "flag": drawn.random(rows) < 0.5,
            "word": drawn.choice(["one", "two", "three", "drei"], rows),
            "shade": drawn.choice(["dark", "light", ""], rows),
            "grade": drawn.integers(1, 4, rows),
            **{name: drawn.integers(-100, 101, rows) for name in ("tiny", "small", "whole", "long")},
            "byte": drawn.integers(0, 101, rows),
            **{name: drawn.normal(0, 30, rows).clip(-99, 99).round(2) for name in ("half", "single", "double")},
        }
    )
    total = table.iloc[:, 4:].sum(axis=1) + 40 * table["flag"]
    table["large"] = np.where(total + drawn.normal(0, 30, rows) > total.median(), "yes", "no")
    for name in ("whole", "long", "single", "double"):
        table[name] = table[name].astype(object).where(drawn.random(rows) > 0.1, None)
    return table
