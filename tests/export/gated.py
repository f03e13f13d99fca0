"""Rows with a known truth, and models that are known to be good or bad.

Each row is one number x. Each model multiplies x by a slope, and returns the sigmoid of the product (binary), the
softmax of its negative, 0 and it (multiclass), or the product itself (regression). The truth was drawn with TRUE_SLOPE.
"""

import functools
import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from export.console import Console
from export.data.dataset import Dataset, load
from export.data.source import Source
from export.pipeline.steps import Candidate, train, verify
from export.spec import Spec
from export.training.pipelines import pipeline
from server.models.manifest import Feature, Golden, Kind, Output
from server.models.session import Model, open_session
from tests.server.support import small

SEED: Final = 7
ROWS: Final = 500
NAME: Final = "gated"
CLASSES: Final[Mapping[str, Mapping[str | int, str]]] = {
    "binary": {0: "no", 1: "yes"},
    "multiclass": {0: "low", 1: "middle", 2: "top"},
    "regression": {},
}
TRUE_SLOPE: Final = 3.0

BINARY: Final = """g (float[N, 1] x) => (string[N] label, float[N, 2] probabilities)
<string[2] names = {"no", "yes"}, float slope = {SLOPE}, float one = {1}> {
  scaled = Mul(x, slope)
  yes = Sigmoid(scaled)
  no = Sub(one, yes)
  probabilities = Concat<axis = 1>(no, yes)
  best = ArgMax<axis = 1, keepdims = 0>(probabilities)
  label = Gather(names, best)
}"""
MULTICLASS: Final = """g (float[N, 1] x) => (string[N] label, float[N, 3] probabilities)
<string[3] names = {"low", "middle", "top"}, float[1, 3] places = {-1, 0, 1}, float slope = {SLOPE}> {
  steep = Mul(x, slope)
  scaled = MatMul(steep, places)
  probabilities = Softmax<axis = 1>(scaled)
  best = ArgMax<axis = 1, keepdims = 0>(probabilities)
  label = Gather(names, best)
}"""
REGRESSION: Final = """g (float[N, 1] x) => (float[N, 1] value) <float slope = {SLOPE}> { value = Mul(x, slope) }"""
GRAPHS: Final = {"binary": BINARY, "multiclass": MULTICLASS, "regression": REGRESSION}


def stiff(features: Sequence[Feature], _seed: int) -> dict[str, Pipeline]:
    """Return one candidate, regularized so strongly that it learns almost nothing."""
    return {"stiff": pipeline(features, LogisticRegression(C=1e-6))}


def spec(kind: Kind) -> Spec:
    """Return the spec of the model of a kind."""
    return Spec(
        name=NAME,
        description="A model that is put beside others.",
        kind=kind,
        target="answer",
        features=(Feature(name="x", datatype="FP32", description="A number.", example=1.0),),
        classes=CLASSES[kind],
        positive_class="yes" if kind == "binary" else None,
        candidates=stiff,
    )


def data(kind: Kind, rows: int = ROWS, unit: float = 1.0) -> Dataset:
    """Return rows, fewer as a prefix of more. A regression's targets are multiplied by `unit`."""
    drawn = np.random.default_rng(SEED)
    lines = []
    for x, luck in drawn.uniform((-2.0, 0.0), (2.0, 1.0), (rows, 2)).astype(np.float32):
        if kind == "regression":
            answer: Any = (TRUE_SLOPE * float(x) + float(luck) - 0.5) * unit
        elif kind == "binary":
            answer = int(luck < 1 / (1 + np.exp(-TRUE_SLOPE * x)))
        else:
            odds = np.exp(np.array([-TRUE_SLOPE * x, 0.0, TRUE_SLOPE * x]))
            answer = int(np.searchsorted(np.cumsum(odds / odds.sum()), luck))
        lines.append(f"{x},{answer}\n")
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.write("".join(["x,answer\n", *lines]))
        file.flush()
        return load(spec(kind), Path(file.name))


@functools.cache
def source(kind: Kind) -> Source:
    """Return the source of the model of a kind."""
    return Source.of(spec(kind), data(kind), SEED)


@functools.cache
def trained() -> Candidate:
    """Return the trained and verified binary model, whose slope is almost zero."""
    return verify(source("binary"), train(source("binary"), Console()), Console())


def champion(root: Path, kind: Kind, slope: float, **members: Any) -> Path:  # noqa: ANN401 # any type
    """Write the model of this slope as version 1, labelled stable. Returns its folder."""
    made = candidate(kind, slope, **members)
    folder = small.write(root, made.model, made.manifest)
    (folder.parent / "labels.json").write_text('{"stable": 1}')
    return folder


def loaded(kind: Kind, slope: float, **members: Any) -> Model:  # noqa: ANN401 # the same
    """Return the model of this slope."""
    made = candidate(kind, slope, **members)
    return Model(made.manifest, made.model)


def like_trained(slope: float) -> Candidate:
    """Return the binary model of this slope with the trained model's manifest, except digest and golden rows."""
    made, found = candidate("binary", slope), trained().manifest
    own = {name: getattr(made.manifest, name) for name in ("sha256", "golden")}
    return Candidate(made.model, msgspec.structs.replace(found, **own))


def candidate(kind: Kind, slope: float, feature: Feature = small.X, **members: Any) -> Candidate:  # noqa: ANN401 # the same
    """Return the model of this slope as if verified; its feature may have another name than x."""
    graph = re.sub(r"\bx\b", feature.name, GRAPHS[kind].replace("SLOPE", str(slope)))
    model = small.onnx_bytes(graph)
    names = ["value"] if kind == "regression" else ["label", "probabilities"]
    answers = open_session(model).run(names, {feature.name: np.ones((1, 1), np.float32)})
    classes = sorted(CLASSES[kind].values())
    outputs = {
        "value": Output(name="value", datatype="FP32", shape=[-1, 1], role="value"),
        "label": Output(name="label", datatype="BYTES", shape=[-1], role="label"),
        "probabilities": Output(name="probabilities", datatype="FP32", shape=[-1, len(classes)], role="probabilities"),
    }
    golden = Golden(
        records=[{feature.name: 1.0}],
        outputs={name: answer.tolist() for name, answer in zip(names, answers, strict=True)},
        tolerance=1e-5,
    )
    described: dict[str, Any] = {
        "name": NAME,
        "version": 1,
        "kind": kind,
        "target": "answer",
        "classes": classes,
        "positive_class": "yes" if kind == "binary" else None,
        "outputs": [outputs[name] for name in names],
        "golden": golden,
        "sha256": hashlib.sha256(model).hexdigest(),
    }
    return Candidate(model, small.manifest(model, feature, **described | members))
