"""Small models for tests: real .onnx files of a few nodes, with matching manifests."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import onnx

from server.models import digest_file
from server.models import manifest as manifests
from server.models.manifest import Feature, Golden, Manifest, Output, Parity
from server.models.training_metadata import Provenance

X: Final = Feature(name="x", datatype="FP32", description="A number.", example=1.0, field_number=1)
INDEX: Final = Feature(name="index", datatype="INT64", description="0, 1 or 2.", example=0, field_number=1)

DOUBLE: Final = "g (float[N, 1] x) => (float[N, 1] value) { value = Add(x, x) }"
"""Computes 2x."""
LOOK_UP: Final = """g (int64[N, 1] index) => (float[N, 1] value)
<float[3] table = {10, 20, 30}> { value = Gather(table, index) }"""
"""Looks up a table's element.

An index past the table's end fails inside onnxruntime; a signature can't exclude it.
"""
WORD: Final = Feature(name="x", datatype="BYTES", description="A word.", example="yes", field_number=1)
YES: Final = """g (string[N, 1] x) => (float[N, 1] value) <string[1] yes = {"yes"}> {
  same = Equal(x, yes)
  value = Cast<to = 1>(same)
}"""
"""Computes 1 for "yes" and 0 for any other string; needs opset 19."""
LONELY: Final = """g (float[N, 1] x) => (float[N, 1] value) <int64 few = {4}, int64[1] zeroth = {0}> {
  shape = Shape(x)
  rows = Gather(shape, zeroth)
  is_lonely = Less(rows, few)
  extra = Cast<to = 1>(is_lonely)
  value = Add(x, extra)
}"""
"""Computes x, plus 1 if a run has fewer than four rows.

Real kernels differ like this in their last bits.
"""


SIGNS: Final = """g (float[N, 1] x) => (string[N] label, float[N, 3] probabilities)
<string[3] names = {"below", "zero", "above"}, float[3] centres = {-1, 0, 1}> {
  offset = Sub(x, centres)
  distance = Abs(offset)
  nearness = Neg(distance)
  probabilities = Softmax<axis = 1>(nearness)
  best = ArgMax<axis = 1, keepdims = 0>(nearness)
  label = Gather(names, best)
}"""
"""Classifies x by the nearest of -1, 0 and 1."""
CLASSES: Final = ["below", "zero", "above"]


def onnx_bytes(graph: str, opset: int = 17) -> bytes:
    """Return the .onnx file of a graph in ONNX's textual syntax."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {graph}')
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def manifest(
    model: bytes,
    feature: Feature = X,
    answers: Sequence[tuple[Any, float]] = ((1.0, 2.0),),
    **members: Any,  # noqa: ANN401 # of any type
) -> Manifest:
    """Return the manifest of a regression with one feature.

    `answers` pairs golden inputs with expected outputs.
    """
    described: dict[str, Any] = {
        "format": manifests.FORMAT,
        "name": "small",
        "version": 1,
        "kind": "regression",
        "target": "value",
        "features": [feature],
        "outputs": [Output(name="value", datatype="FP32", shape=[-1, 1], role="value")],
        "sha256": hashlib.sha256(model).hexdigest(),
        "golden": Golden(
            records=[{feature.name: value} for value, _ in answers],
            outputs={"value": [[answer] for _, answer in answers]},
            tolerance=1e-5,
        ),
        "parity": Parity(rows=1, label_flips=0, max_abs_difference=0.0, tolerance=1e-5),
        "provenance": _PROVENANCE,
    }
    return Manifest(**described | members)


def write(root: Path, model: bytes, described: Manifest) -> Path:
    """Write a version below `root` as the exporter does. Returns its folder."""
    folder = root / described.name / str(described.version)
    folder.mkdir(parents=True)
    (folder / manifests.MODEL_FILE).write_bytes(model)
    (folder / manifests.MANIFEST_FILE).write_bytes(manifests.encode(described))
    return folder


def double(root: Path, name: str = "small", version: int = 1) -> Path:
    """Write a version that computes 2x. Returns its folder."""
    model = onnx_bytes(DOUBLE)
    return write(root, model, manifest(model, name=name, version=version))


def signs(root: Path, **members: Any) -> Path:  # noqa: ANN401 # of any type
    """Write the model with three classes and a manifest with these members. Returns its folder."""
    model = onnx_bytes(SIGNS)
    described: dict[str, Any] = {
        "kind": "multiclass",
        "classes": CLASSES,
        "outputs": [
            Output(name="label", datatype="BYTES", shape=[-1], role="label"),
            Output(name="probabilities", datatype="FP32", shape=[-1, 3], role="probabilities"),
        ],
        "golden": Golden(records=[{"x": 0.2}], outputs={"label": ["zero"]}, tolerance=1e-5),
    }
    return write(root, model, manifest(model, **described | members))


def shades(root: Path) -> Path:
    """Write a model of twenty classes with long names. Returns its folder."""
    classes = [f"shade {place} of all the colours that there are" for place in range(20)]
    names = ", ".join(f'"{each}"' for each in classes)
    graph = f"""g (float[N, 1] x) => (string[N] label, float[N, 20] probabilities)
    <string[20] names = {{{names}}}, float[20] centres = {{{", ".join(map(str, range(20)))}}}> {{
      offset = Sub(x, centres)
      distance = Abs(offset)
      nearness = Neg(distance)
      probabilities = Softmax<axis = 1>(nearness)
      best = ArgMax<axis = 1, keepdims = 0>(nearness)
      label = Gather(names, best)
    }}"""
    described: dict[str, Any] = {
        "name": "shades",
        "kind": "multiclass",
        "classes": classes,
        "outputs": [
            Output(name="label", datatype="BYTES", shape=[-1], role="label"),
            Output(name="probabilities", datatype="FP32", shape=[-1, 20], role="probabilities"),
        ],
        "golden": Golden(records=[{"x": 0.2}], outputs={"label": [classes[0]]}, tolerance=1e-5),
    }
    model = onnx_bytes(graph)
    return write(root, model, manifest(model, **described))


def price(root: Path) -> Path:
    """Write a regression with large outputs that is undefined below 0. Returns its folder."""
    model = onnx_bytes("""g (float[N, 1] x) => (float[N, 1] value) <float[1] each = {452316.4}> {
      growth = Log(x)
      value = Mul(growth, each)
    }""")
    target = "price_of_a_house_in_euro_when_it_was_last_sold"
    return write(root, model, manifest(model, name="price_of_a_house", target=target, answers=((1.0, 0.0),)))


def edit(folder: Path, **members: object) -> None:
    """Replace members of a version's manifest, and update its digest file if it has one."""
    path = folder / manifests.MANIFEST_FILE
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | members))
    digest(folder)


def digest(folder: Path) -> None:
    """Update a version's digest file to its current files, if it has one."""
    path = folder / digest_file.DIGEST_FILE
    if path.exists():
        files = {each.name: each.read_bytes() for each in folder.iterdir() if each != path}
        path.write_bytes(digest_file.encode(files))


_PROVENANCE: Final = Provenance(
    dataset="none",
    dataset_sha256="",
    dataset_rows=0,
    seed=0,
    held_out_share=0.0,
    estimator="none",
    candidates={},
    ir_version=8,
    opsets={"ai.onnx": 17},
    versions={},
)
