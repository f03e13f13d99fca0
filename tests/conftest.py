"""Fixtures for all tests: a server, the committed models, a passenger, the data set."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sklearn.pipeline import Pipeline

from export.cli.arguments import SEED
from export.data.dataset import Dataset, Split, load, split
from export.titanic import TITANIC
from export.training.pipelines import GRADIENT_BOOSTING, candidates
from export.training.train import reproducible
from tests.passenger import PASSENGER
from tests.server.support.process import serving

ROOT: Final = Path(__file__).parents[1]
_LONGEST: Final = frozenset(
    {
        "test_tables_faults.py",
        "test_snippets.py",
        "test_command_line.py",
        "test_failures.py",
        "test_score_url.py",
        "test_batch_ends.py",
        "test_openapi.py",
        "test_hung_models.py",
        "test_rollout.py",
    }
)
_ALONE: Final = frozenset({"test_memory_growth.py", "test_reload_memory.py"})
"""Tests that measure memory and therefore run alone.

The tests in the `bench` folder, which measure time, run alone too.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that run alone, and start the longest files first.

    All test processes then end at about the same time.
    """
    for item in items:
        if item.path.name in _ALONE or item.path.parent.name == "bench":
            item.add_marker(pytest.mark.alone)
    items.sort(key=lambda item: item.path.name not in _LONGEST)


@pytest.fixture(scope="session")
def server() -> Iterator[httpx.Client]:
    """Yield a client of a real server process with the committed models and default settings."""
    with serving() as client:
        yield client


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a copy of the committed model repository, which the test may change."""
    return Path(shutil.copytree(ROOT / "models", tmp_path / "models"))


@pytest.fixture
def passenger() -> dict[str, Any]:
    """Return a valid record."""
    return dict(PASSENGER)


@pytest.fixture(scope="session")
def passengers() -> list[dict[str, Any]]:
    """Return every row of the data set as a client's record, with nulls."""
    types = {"pclass": int, "sex": str, "age": float, "sibsp": int, "parch": int, "fare": float, "embarked": str}
    with (ROOT / "export" / "data" / "titanic.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: kind(row[name]) if row[name] else None for name, kind in types.items()} for row in rows]


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Return the training data set."""
    return load(TITANIC)


@pytest.fixture(scope="session")
def part(dataset: Dataset) -> Split:
    """Return the published model's training rows and held-out rows."""
    return split(dataset, SEED)


@pytest.fixture(scope="session")
def pipeline(part: Split) -> Pipeline:
    """Return the published pipeline in scikit-learn, fitted again."""
    with reproducible():
        return candidates(TITANIC, SEED)[GRADIENT_BOOSTING].fit(part.X_train, part.y_train)
