"""Build the manifest from the results of every step."""

import hashlib
from dataclasses import dataclass

import numpy as np

from export.conversion.convert import ConvertedModel
from export.data.dataset import HELD_OUT_SHARE
from export.data.reference import background, reference
from export.data.source import Source
from export.pipeline.fingerprint import cpu, recipe, versions
from export.training.train import Fitted, predict
from server.models.manifest import FORMAT, Golden, Manifest, Parity
from server.models.training_metadata import Metrics, Provenance, Reference


@dataclass(frozen=True, slots=True)
class Evidence:
    """Results of all steps before the publication."""

    source: Source
    fitted: Fitted
    metrics: Metrics
    converted: ConvertedModel
    parity: Parity
    golden: Golden
    min_batch_rows: int


def manifest(version: int, evidence: Evidence) -> Manifest:
    """Return the manifest of this version.

    The manifest contains no time and no path, so the same recipe gives the same bytes.
    """
    converted, source = evidence.converted, evidence.source
    spec = source.spec
    return Manifest(
        format=FORMAT,
        name=spec.name,
        version=version,
        kind=spec.kind,
        description=spec.description,
        target=spec.target,
        classes=sorted(spec.classes.values()),
        positive_class=spec.positive_class,
        features=list(spec.features),
        outputs=list(converted.outputs),
        sha256=hashlib.sha256(converted.model).hexdigest(),
        min_batch_rows=evidence.min_batch_rows,
        metrics=evidence.metrics,
        parity=evidence.parity,
        golden=evidence.golden,
        limits=list(spec.limits),
        reference=_reference(evidence),
        background=background(spec.features, source.part.X_train, source.seed),
        provenance=_provenance(evidence),
    )


def _reference(evidence: Evidence) -> Reference:
    spec, pipeline, X = evidence.source.spec, evidence.fitted.pipeline, evidence.source.part.X_train
    predictions = predict(spec, pipeline, X)
    if spec.kind == "multiclass":
        predictions = np.asarray(pipeline.classes_)[predictions.argmax(axis=1)]
    elif spec.positive_class is not None:
        predictions = predictions[:, list(pipeline.classes_).index(spec.positive_class)]
    return reference(spec.features, X, predictions, spec.kind)


def _provenance(evidence: Evidence) -> Provenance:
    fitted, source = evidence.fitted, evidence.source
    return Provenance(
        dataset=source.data.table.name,
        dataset_sha256=source.data.table.sha256,
        dataset_rows=len(source.data.y),
        seed=source.seed,
        held_out_share=HELD_OUT_SHARE,
        estimator=fitted.estimator,
        calibration=fitted.calibration,
        loss=fitted.loss,
        candidates=dict(fitted.candidates),
        ir_version=evidence.converted.ir_version,
        opsets=dict(evidence.converted.opsets),
        versions=versions(),
        cpu=cpu(),
        recipe=recipe(source),
    )
