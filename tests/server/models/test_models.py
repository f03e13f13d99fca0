"""Loading and running one model version: every difference from its manifest is rejected."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.errors import DigestError, GoldenError, ManifestError, ModelError, SignatureError
from server.models.session import Model
from tests.server.support import small


def _column(*values: float) -> dict[str, Any]:
    return {"x": np.array(values, dtype=np.float32).reshape(-1, 1)}


def _edit(version: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of a version."""
    path = version / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    small.digest(version)


@pytest.fixture
def version(models: Path) -> Path:
    """Return the folder of a copy of the committed version, for tests to change."""
    return models / "titanic" / "1"


def test_load(version: Path) -> None:
    """A version that matches its manifest is loaded."""
    model = Model.load(version)
    assert (model.name, model.version, model.output_names) == ("titanic", "1", ["label", "probabilities"])


def test_run_answers_the_outputs_asked_for(tmp_path: Path) -> None:
    """A run gives one output row per input row, for all or the named outputs."""
    model = Model.load(small.double(tmp_path))
    np.testing.assert_array_equal(model.run(_column(1, 2, 3))["value"], [[2], [4], [6]])
    assert list(model.run(_column(1), ["value"])) == ["value"]


def test_named_outputs(version: Path) -> None:
    """A run with one named output returns only that output."""
    model = Model.load(version)
    columns = model.signature.from_records(model.manifest.golden.records)
    assert list(model.run(columns, ["probabilities"])) == ["probabilities"]


def test_other_bytes(version: Path) -> None:
    """A model file that differs by one byte is rejected before onnxruntime reads it."""
    path = version / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DigestError, match=r"^model\.onnx: expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}$"):
        Model.load(version)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07"])
def test_broken_onnx(version: Path, content: bytes) -> None:
    """Bytes that onnxruntime can't load are rejected, whatever exception it raises."""
    (version / "model.onnx").write_bytes(content)
    small.edit(version, sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(ModelError, match=r"^model\.onnx: onnxruntime can't load it: "):
        Model.load(version)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_missing_file(version: Path, name: str) -> None:
    """A version with a missing file is rejected with the file's path."""
    (version / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: No such file"):
        Model.load(version)


def test_wrong_manifest(version: Path) -> None:
    """A version with an invalid manifest is rejected."""
    _edit(version, lambda manifest: manifest.update(format=9))
    with pytest.raises(ManifestError, match="format: expected 1, got 9"):
        Model.load(version)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["features"][0].update(name="class"),
        lambda manifest: manifest["features"][0].update(datatype="FP32"),
        lambda manifest: manifest["features"].pop(),
        lambda manifest: manifest["features"].append(manifest["features"][0] | {"name": "cabin", "field_number": 8}),
    ],
    ids=["name", "datatype", "missing", "added"],
)
def test_other_inputs(version: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """A model with inputs other than the manifest's features is rejected."""
    _edit(version, change)
    with pytest.raises(SignatureError, match=r"^model\.onnx: its inputs are .*, the manifest says "):
        Model.load(version)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda manifest: manifest["outputs"][0].update(name="class"), "it has no output 'class' of BYTES"),
        (lambda manifest: manifest["outputs"][1].update(datatype="FP64"), "it has no output 'probabilities' of FP64"),
    ],
    ids=["name", "datatype"],
)
def test_other_outputs(version: Path, change: Callable[[dict[str, Any]], object], words: str) -> None:
    """A model without one of the manifest's outputs is rejected."""
    _edit(version, change)
    with pytest.raises(SignatureError, match=words):
        Model.load(version)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda outputs: outputs["probabilities"][3].__setitem__(0, 0.5), "probabilities differs by 0.2"),
        (lambda outputs: outputs["label"].__setitem__(0, "died"), "label differs from the export's"),
        (lambda outputs: outputs["label"].pop(), r"label has shape \[\d+\], expected \[\d+\]"),
        (lambda outputs: outputs.update({"": outputs["label"]}), "there is no output ''; there is label"),
        (lambda outputs: outputs["probabilities"][3].pop(), "probabilities has values that are not float32"),
        (lambda outputs: outputs.clear(), "outputs: expected at least one; it is empty"),
    ],
    ids=["probability", "label", "row", "name", "ragged", "nothing"],
)
def test_other_answers(version: Path, change: Callable[[dict[str, Any]], object], words: str) -> None:
    """A model with outputs for the golden rows other than at export is rejected."""
    _edit(version, lambda manifest: change(manifest["golden"]["outputs"]))
    with pytest.raises(GoldenError, match=f"^golden rows: {words}"):
        Model.load(version)


@pytest.mark.parametrize(("feature", "value"), [("age", "old"), ("sex", 1), ("pclass", 2.5), ("fare", True)])
def test_golden_rows_of_another_datatype(version: Path, feature: str, value: object) -> None:
    """A golden row with a value that the feature's datatype cannot hold is rejected with its row and feature."""
    _edit(version, lambda manifest: manifest["golden"]["records"][2].update({feature: value}))
    with pytest.raises(ManifestError, match=f"^golden rows: row 2: {feature}: not a value of "):
        Model.load(version)


def test_no_golden_rows(version: Path) -> None:
    """A manifest without golden rows is rejected, because every model would pass."""

    def empty(manifest: dict[str, Any]) -> None:
        manifest["golden"] = {"records": [], "outputs": {"label": [], "probabilities": []}, "tolerance": 0}

    _edit(version, empty)
    with pytest.raises(GoldenError, match=r"^golden rows: records: expected at least one; it is empty"):
        Model.load(version)


def test_last_bits_of_another_cpu(version: Path) -> None:
    """A difference within the manifest's tolerance is accepted, because CPUs round differently."""
    _edit(version, lambda manifest: manifest["golden"]["outputs"]["probabilities"][0].__setitem__(0, 0.10134))
    Model.load(version)


def test_answer_that_is_no_number(tmp_path: Path) -> None:
    """A model with NaN for a golden row is rejected."""
    graph = "g (float[N, 1] x) => (float[N, 1] value) { y = Sub(x, x)\n value = Div(y, y) }"
    model = small.onnx_bytes(graph)
    with pytest.raises(GoldenError, match="value differs by nan"):
        Model.load(small.write(tmp_path, model, small.manifest(model)))


def test_golden_rows_are_run_alone_too(tmp_path: Path) -> None:
    """A model with right outputs for the golden rows together, but not alone, is rejected."""
    model = small.onnx_bytes(small.LONELY)
    golden = [(float(x), float(x)) for x in range(4)]
    with pytest.raises(GoldenError, match="value differs by 1"):
        Model.load(small.write(tmp_path, model, small.manifest(model, answers=golden)))


@pytest.mark.parametrize("rows", range(1, 9))
def test_few_rows_are_run_in_company(tmp_path: Path, rows: int) -> None:
    """Fewer rows than min_batch_rows are padded, so that outputs don't depend on the batch."""
    model = small.onnx_bytes(small.LONELY)
    golden = [(float(x), float(x)) for x in range(4)]
    loaded = Model.load(small.write(tmp_path, model, small.manifest(model, answers=golden, min_batch_rows=4)))
    values = list(range(rows))
    assert loaded.run(_column(*values))["value"].reshape(-1).tolist() == values


def test_filling_up_changes_no_answer(version: Path) -> None:
    """The committed model gives the same outputs with padding to four rows as without."""
    model = Model.load(version)
    small.edit(version, min_batch_rows=4)
    filling = Model.load(version)
    for record in model.manifest.golden.records:
        columns = model.signature.from_records([record])
        expected, got = model.run(columns), filling.run(columns)
        assert [each.tolist() for each in got.values()] == [each.tolist() for each in expected.values()]
