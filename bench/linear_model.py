"""Logistic regression on the same features, for the server's own cost.

A run of this model takes almost no time.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Final

import msgspec
import pandas as pd

from bench.targets import BUILD, ROOT
from export.cli.arguments import SEED
from export.conversion.convert import convert
from export.conversion.verify import Verifier, edge_records, edge_rows
from export.data.dataset import load, split
from export.registry.publish import publish
from export.titanic import TITANIC
from export.training.pipelines import LOGISTIC_REGRESSION, candidates
from server.models import manifest as manifests
from server.models.manifest import Manifest

MODELS: Final = BUILD / "models"
NAME: Final = "linear"


def made() -> Path:
    """Create a model repository of the committed model and the linear one.

    Each model has version 1. Returns the path.
    """
    if MODELS.exists():
        shutil.rmtree(MODELS)
    shutil.copytree(ROOT / "models", MODELS)
    _publish(MODELS)
    return MODELS


def _publish(models: Path) -> None:
    """Fit, convert and publish the linear model as the exporter does.

    Its manifest copies the committed model's features.
    """
    dataset = load(TITANIC)
    part = split(dataset, SEED)
    pipeline = candidates(TITANIC, SEED)[LOGISTIC_REGRESSION].fit(part.X_train, part.y_train)
    converted = convert(pipeline, TITANIC.features, len(TITANIC.classes))
    verified = Verifier(pipeline, converted, TITANIC.features)
    edges = edge_records(TITANIC.features, {feature.name: feature.example for feature in TITANIC.features})
    rows = pd.concat([dataset.X, edge_rows(TITANIC.features, edges)], ignore_index=True)
    committed = manifests.read(ROOT / "models" / "titanic" / "1" / manifests.MANIFEST_FILE)

    def manifest(version: int) -> Manifest:
        return msgspec.structs.replace(
            committed,
            name=NAME,
            version=version,
            sha256=hashlib.sha256(converted.model).hexdigest(),
            outputs=list(converted.outputs),
            golden=verified.golden(edges),
            min_batch_rows=verified.min_batch_rows(rows),
        )

    publish(models, NAME, converted.model, manifest)
