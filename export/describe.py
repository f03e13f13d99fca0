"""What every step found, to the manifest."""

import hashlib
import platform
from dataclasses import dataclass
from importlib.metadata import version as installed
from typing import Final

from export.convert import Converted
from export.data import HELD_OUT_SHARE, Dataset, Spec
from export.train import Fitted
from server.manifest import FORMAT, Golden, Manifest, Metrics, Parity, Provenance

LIBRARIES: Final = ("numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx")
"""The libraries whose versions decide what the model file holds."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the steps before publication found out."""

    dataset: Dataset
    seed: int
    fitted: Fitted
    metrics: Metrics
    converted: Converted
    parity: Parity
    golden: Golden
    min_batch_rows: int


def manifest(spec: Spec, version: int, evidence: Evidence) -> Manifest:
    """Return the manifest of this version. It holds no time and no path: the same recipe gives the same bytes."""
    converted = evidence.converted
    return Manifest(
        format=FORMAT,
        name=spec.name,
        version=version,
        kind="binary",
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
        provenance=_provenance(evidence),
    )


def _provenance(evidence: Evidence) -> Provenance:
    return Provenance(
        dataset=evidence.dataset.name,
        dataset_sha256=evidence.dataset.sha256,
        dataset_rows=len(evidence.dataset.y),
        seed=evidence.seed,
        held_out_share=HELD_OUT_SHARE,
        estimator=evidence.fitted.estimator,
        candidates=dict(evidence.fitted.candidates),
        ir_version=evidence.converted.ir_version,
        opsets=dict(evidence.converted.opsets),
        versions={"python": platform.python_version(), **{name: installed(name) for name in LIBRARIES}},
    )
