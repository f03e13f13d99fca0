"""What every test may use: the real server, a copy of the committed models, a passenger."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sklearn.pipeline import Pipeline

from export.data import Dataset, Split, load, split
from export.options import SEED
from export.pipelines import GRADIENT_BOOSTING, candidates
from export.titanic import TITANIC
from export.train import reproducible
from tests.passenger import PASSENGER
from tests.server.process import serving

ROOT: Final = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def server() -> Iterator[httpx.Client]:
    """Yield a client of the real server as a process, with the committed models and no setting changed."""
    with serving() as client:
        yield client


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a copy of the committed model repository, to be tampered with."""
    return Path(shutil.copytree(ROOT / "models", tmp_path / "models"))


@pytest.fixture
def passenger() -> dict[str, Any]:
    """Return a record that is right in every field."""
    return dict(PASSENGER)


@pytest.fixture(scope="session")
def passengers() -> list[dict[str, Any]]:
    """Return every row of the data set as the record a caller would send, a missing value as null."""
    types = {"pclass": int, "sex": str, "age": float, "sibsp": int, "parch": int, "fare": float, "embarked": str}
    with (ROOT / "export" / "data" / "titanic.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: kind(row[name]) if row[name] else None for name, kind in types.items()} for row in rows]


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Return the data set that is trained on."""
    return load(TITANIC)


@pytest.fixture(scope="session")
def part(dataset: Dataset) -> Split:
    """Return the rows that the published model was fitted on, and those held out."""
    return split(dataset, SEED)


@pytest.fixture(scope="session")
def pipeline(part: Split) -> Pipeline:
    """Return the published pipeline as scikit-learn has it, fitted again."""
    with reproducible():
        return candidates(TITANIC, SEED)[GRADIENT_BOOSTING].fit(part.X_train, part.y_train)
