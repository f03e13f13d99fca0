"""Tests of the committed model, from the exporter's claims to the served prediction."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.pipeline import Pipeline

from export.data.dataset import Dataset, Split, columns
from export.titanic import TITANIC
from server.models import manifest as manifests
from server.models.manifest import Manifest
from server.models.session import Model

VERSION = Path(__file__).parents[2] / "models" / "titanic" / "1"


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """Return the committed manifest."""
    return manifests.read(VERSION / "manifest.json")


@pytest.fixture(scope="module")
def probabilities(part: Split) -> Any:  # noqa: ANN401 # an array
    """Return the committed model's probabilities for the held-out rows."""
    return Model.load(VERSION).run(columns(part.X_test))["probabilities"]


def test_better_than_the_baseline_on_held_out_rows(
    manifest: Manifest,
    part: Split,
    probabilities: Any,  # noqa: ANN401 # an array
) -> None:
    """On held-out rows the model has at least the accuracy and ROC AUC of the baseline."""
    assert manifest.metrics is not None
    baseline, told = manifest.metrics.baseline, manifest.metrics.held_out
    labels = np.array(manifest.classes, dtype=object)[probabilities.argmax(axis=1)]
    accuracy, roc_auc = (
        accuracy_score(part.y_test, labels),
        roc_auc_score(part.y_test == "survived", probabilities[:, 1]),
    )
    assert len(part.y_test) == manifest.metrics.held_out_rows
    assert (accuracy, roc_auc) == pytest.approx((told["accuracy"], told["roc_auc"]), abs=1e-3)
    assert accuracy >= baseline["accuracy"]
    assert roc_auc >= baseline["roc_auc"]


def test_better_than_the_baseline_over_many_splits(manifest: Manifest) -> None:
    """The means of the metrics over all seeds are at least as good as the baseline's."""
    assert manifest.metrics is not None
    model, baseline = manifest.metrics.over_seeds.mean, manifest.metrics.baseline_over_seeds.mean
    assert manifest.metrics.seeds >= 20
    assert model["accuracy"] >= baseline["accuracy"]
    assert model["roc_auc"] >= baseline["roc_auc"]
    assert model["log_loss"] <= baseline["log_loss"]
    assert model["brier"] <= baseline["brier"]


def test_manifest_speaks_of_this_data(manifest: Manifest, dataset: Dataset) -> None:
    """The manifest has the exporter's features, numbered, and the digest of the committed data."""
    assert [feature.field_number for feature in manifest.features] == [1, 2, 3, 4, 5, 6, 7]
    assert tuple(replace(feature, field_number=0) for feature in manifest.features) == TITANIC.features
    provenance = manifest.provenance
    assert (provenance.dataset, provenance.dataset_sha256) == (dataset.table.name, dataset.table.sha256)
    assert provenance.dataset_rows == len(dataset.y)


def test_parity_was_perfect(manifest: Manifest) -> None:
    """Verification found no different label on all data, edge cases and tree thresholds."""
    parity = manifest.parity
    assert parity.label_flips == 0
    assert parity.edge_rows == len(manifest.golden.records)
    assert parity.rows == manifest.provenance.dataset_rows + parity.edge_rows + parity.threshold_rows
    assert parity.threshold_rows > 1000
    assert manifest.parity.max_abs_difference <= manifest.parity.tolerance <= 1e-5


def test_golden_rows_are_served(server: httpx.Client, manifest: Manifest) -> None:
    """Each golden row is a valid record and gets the exported prediction."""
    answers = server.post("/api/predict", json={"records": manifest.golden.records}).json()["predictions"]
    assert len(answers) >= 30
    for answer, label, expected in zip(answers, *manifest.golden.outputs.values(), strict=True):
        assert answer["label"] == label
        assert list(answer["probabilities"].values()) == pytest.approx(expected, abs=1e-5)


def test_served_answer_is_scikit_learns(server: httpx.Client, pipeline: Pipeline, passenger: dict[str, Any]) -> None:
    """A passenger gets the prediction of a newly fitted scikit-learn pipeline."""
    expected = pipeline.predict_proba(pd.DataFrame([passenger]))[0, 1]
    answer = server.post("/api/predict", json=passenger).json()
    assert answer["probability"] == pytest.approx(expected, abs=1e-5)


def test_every_row_is_served_as_scikit_learn_answers(
    server: httpx.Client, pipeline: Pipeline, dataset: Dataset, passengers: list[dict[str, Any]]
) -> None:
    """Every row gets scikit-learn's label and, within 1e-5, its probability."""
    answers = server.post("/api/predict", json={"records": passengers}).json()["predictions"]
    served = np.array([answer["probability"] for answer in answers])
    np.testing.assert_allclose(served, pipeline.predict_proba(dataset.X)[:, 1], rtol=0, atol=1e-5)
    assert [answer["label"] for answer in answers] == list(pipeline.predict(dataset.X))


def test_labels_point_at_a_version_that_is_there() -> None:
    """The label `stable` names an existing version."""
    labels = json.loads((VERSION.parent / "labels.json").read_text())
    assert (VERSION.parent / str(labels["stable"]) / "model.onnx").is_file()
