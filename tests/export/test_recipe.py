"""Tests of the recipe: the digest of everything that decides a model's bytes."""

from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from export.data.dataset import load
from export.data.source import Source
from export.pipeline.fingerprint import recipe
from export.spec import Spec, read_spec
from export.titanic import TITANIC
from export.training.pipelines import pipeline
from tests.export import tiny


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Return a tiny spec with its data."""
    tiny.write(tmp_path)
    spec = read_spec(tmp_path / "tiny.py")
    return Source.of(spec, load(spec, tmp_path / "tiny.csv"), 1)


def _of(source: Source, spec: Spec) -> str:
    return recipe(Source.of(spec, source.data, source.seed))


def test_the_same_is_the_same(source: Source, tmp_path: Path) -> None:
    """The same spec and data have the same recipe, also after rereading and in another folder."""
    assert len(recipe(source)) == 64
    again = tmp_path / "elsewhere"
    again.mkdir()
    tiny.write(again)
    spec = read_spec(again / "tiny.py")
    assert recipe(Source.of(spec, load(spec, again / "tiny.csv"), 1)) == recipe(source)


def test_whatever_decides_the_model_changes_it(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other data, seed, features, descriptions, pipelines, libraries or CPU change the recipe."""
    spec = source.spec
    tiny.points(301).to_csv(tmp_path / "other.csv", index=False)
    found = [
        recipe(source),
        recipe(Source.of(spec, source.data, 2)),
        recipe(Source.of(spec, load(spec, tmp_path / "other.csv"), 1)),
        _of(source, replace(spec, description="Told otherwise.")),
        _of(source, replace(spec, limits=("Not at night.",))),
        _of(source, replace(spec, features=spec.features[::-1])),
        _of(source, replace(spec, candidates=lambda f, _: {"linear": pipeline(f, LogisticRegression(C=2.0))})),
        _of(source, replace(spec, candidates=None)),
    ]
    monkeypatch.setattr("export.pipeline.fingerprint.cpu", lambda: "abacus")
    found.append(recipe(source))
    monkeypatch.undo()
    monkeypatch.setattr("export.pipeline.fingerprint.installed", lambda _name: "0")
    found.append(recipe(source))
    assert len(set(found)) == len(found)


def test_where_something_is_does_not(source: Source) -> None:
    """The location of the data doesn't change the recipe."""
    assert _of(source, replace(source.spec, data=Path("elsewhere.csv"), openml=1)) == recipe(source)


def test_titanic_has_one() -> None:
    """The recipe of Titanic's spec is the same when computed twice."""
    source = Source.of(TITANIC, load(TITANIC), 1)
    assert recipe(source) == recipe(source)


OWN = """
from sklearn.base import BaseEstimator, TransformerMixin


class Doubled(TransformerMixin, BaseEstimator):
    def __init__(self, edges=None):
        self.edges = edges

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X * 2
"""


def test_what_a_spec_has_of_its_own_changes_it(tmp_path: Path) -> None:
    """The recipe covers classes in the spec's file and every number of an array argument."""
    tail = tiny.SPEC.replace(
        "pipeline(features, LogisticRegression())", "Pipeline([('own', Doubled(EDGES)), ('lr', LogisticRegression())])"
    )
    head = f"import numpy as np\nfrom sklearn.pipeline import Pipeline\nEDGES = np.arange(2000)\n{OWN}"
    texts = [
        head + tail,
        head.replace("X * 2", "X * 3") + tail,
        head.replace("2000)\n", "2000)\nEDGES[900] = 0\n") + tail,
    ]
    found = []
    for place, text in enumerate(texts):
        folder = tmp_path / str(place)
        folder.mkdir()
        tiny.write(folder, text)
        spec = read_spec(folder / "tiny.py")
        found.append(recipe(Source.of(spec, load(spec, folder / "tiny.csv"), 1)))
    assert len(set(found)) == 3
