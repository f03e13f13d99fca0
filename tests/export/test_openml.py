"""Tests of --openml: OpenML's passengers, fetched by scikit-learn."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import sklearn.datasets.tests.data.openml.id_40945 as stored

from export.data.dataset import DataError, dataset, fetch_table, load
from export.titanic import TITANIC

ANSWERS: Final = {
    "api-v1-jd-40945.json.gz": "api/v1/json/data/40945.gz",
    "api-v1-jdf-40945.json.gz": "api/v1/json/data/features/40945.gz",
    "api-v1-jdq-40945.json.gz": "api/v1/json/data/qualities/40945.gz",
    "data-v1-dl-16826755.arff.gz": "data/v1/download/16826755/Titanic.arff.gz",
}
"""OpenML's responses for this data set in scikit-learn's wheel, with their paths in its cache."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return scikit-learn's cache with these responses, so that nothing is downloaded."""
    for file, place in ANSWERS.items():
        path = tmp_path / "openml" / "openml.org" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(str(stored.__file__)).parent / file, path)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("cache")
def test_the_same_passengers() -> None:
    """OpenML's rows in the wheel are all in the committed file."""
    fetched, committed = dataset(fetch_table(TITANIC), TITANIC), load(TITANIC)
    assert len(fetched.y) > 0
    ours = {repr(row) for row in zip(*(committed.X[name] for name in committed.X), committed.y, strict=True)}
    theirs = {repr(row) for row in zip(*(fetched.X[name] for name in fetched.X), fetched.y, strict=True)}
    assert theirs <= ours
    assert list(fetched.X.columns) == list(committed.X.columns)
    assert fetched.table.name == "openml-40945"


@pytest.mark.usefixtures("cache")
def test_the_digest_is_the_tables() -> None:
    """The same responses have the same digest."""
    assert fetch_table(TITANIC).sha256 == fetch_table(TITANIC).sha256


def test_a_spec_without_a_number() -> None:
    """A spec without an OpenML number is rejected."""
    with pytest.raises(DataError, match="titanic: its spec has no OpenML data set"):
        fetch_table(replace(TITANIC, openml=None))


def test_what_cannot_be_had(cache: Path) -> None:
    """An invalid response is rejected with the data set's number."""
    shutil.rmtree(cache / "openml" / "openml.org" / "api" / "v1" / "json" / "data" / "features")
    (cache / "openml" / "openml.org" / "api" / "v1" / "json" / "data" / "features").write_bytes(b"")
    with pytest.raises(DataError, match=r"^OpenML 40945: \w+"):
        fetch_table(TITANIC)
