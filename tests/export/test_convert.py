"""Tests of the conversion of a fitted pipeline to ONNX bytes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline

from export.conversion.convert import ConvertedModel, ConvertError, convert
from export.conversion.verify import Verifier
from export.titanic import TITANIC
from export.training.pipelines import pipeline as pipeline_of
from server.models.manifest import Feature

DIGEST = """
import hashlib
from export.cli.arguments import SEED
from export.conversion.convert import convert
from export.data.dataset import load, split
from export.titanic import TITANIC
from export.training.pipelines import candidates

part = split(load(TITANIC), SEED)
pipeline = candidates(TITANIC, SEED)["gradient_boosting"].fit(part.X_train, part.y_train)
print(hashlib.sha256(convert(pipeline, TITANIC.features, 2).model).hexdigest())
"""


@pytest.fixture(scope="module")
def converted(pipeline: Pipeline) -> ConvertedModel:
    """Return the published pipeline, converted."""
    return convert(pipeline, TITANIC.features, 2)


@pytest.fixture(scope="module")
def graph(converted: ConvertedModel) -> onnx.GraphProto:
    """Return the ONNX graph."""
    return onnx.load_from_string(converted.model).graph


def test_inputs_are_the_features(graph: onnx.GraphProto) -> None:
    """Each feature is an input of shape [rows, 1] with its datatype, in the features' order."""
    types = {"INT64": onnx.TensorProto.INT64, "BYTES": onnx.TensorProto.STRING, "FP32": onnx.TensorProto.FLOAT}
    inputs = [(each.name, each.type.tensor_type.elem_type) for each in graph.input]
    assert inputs == [(feature.name, types[feature.datatype]) for feature in TITANIC.features]
    for each in graph.input:
        rows, width = each.type.tensor_type.shape.dim
        assert (rows.HasField("dim_value"), width.dim_value) == (False, 1)


def test_outputs_are_tensors(graph: onnx.GraphProto, converted: ConvertedModel) -> None:
    """The outputs are a label and a tensor of probabilities, without a map per row."""
    assert "ZipMap" not in {node.op_type for node in graph.node}
    assert [each.type.WhichOneof("value") for each in graph.output] == ["tensor_type", "tensor_type"]
    assert [(each.name, each.role, each.datatype, each.shape) for each in converted.outputs] == [
        ("label", "label", "BYTES", [-1]),
        ("probabilities", "probabilities", "FP32", [-1, 2]),
    ]


def test_versions_are_those_of_the_file(converted: ConvertedModel) -> None:
    """The reported IR version and opsets are the file's."""
    model = onnx.load_from_string(converted.model)
    assert converted.ir_version == model.ir_version
    assert converted.opsets == {each.domain or "ai.onnx": each.version for each in model.opset_import}


def test_same_pipeline_gives_the_same_bytes(pipeline: Pipeline, converted: ConvertedModel) -> None:
    """Converting twice gives the same bytes."""
    assert convert(pipeline, TITANIC.features, 2).model == converted.model


def test_bytes_do_not_depend_on_hashing() -> None:
    """Training and converting with other hash seeds gives the same bytes."""
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DIGEST],
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "1")
    ]
    digests = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(digests[0].strip()) == 64
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("label", LogisticRegression(), ["label_1", "probabilities"]),
        ("probabilities", LogisticRegression(), ["label", "probabilities_1"]),
        ("variable", LinearRegression(), ["variable_1"]),
    ],
)
def test_feature_named_like_an_output(name: str, kind: BaseEstimator, expected: list[str]) -> None:
    """A feature keeps a name that the converter gives to an output; the output is renamed."""
    features = [Feature(name=each, datatype="FP32", description="", example=1.0) for each in (name, f"{name}_2")]
    X = pd.DataFrame({name: [0.0, 1.0, 2.0, 3.0], f"{name}_2": [3.0, 0.0, 2.0, 1.0]}, dtype="float32")
    truths = X[name] if len(expected) == 1 else np.array(["low", "low", "top", "top"])
    fitted = pipeline_of(features, kind).fit(X, truths)
    made = convert(fitted, features, 0 if len(expected) == 1 else 2)
    assert [output.name for output in made.outputs] == expected
    assert Verifier(fitted, made, features).parity(X).label_flips == 0


def test_pipeline_that_is_no_classifier() -> None:
    """A pipeline without label and probabilities is rejected as a classifier."""
    feature = Feature(name="x", datatype="FP32", description="", example=1.0, field_number=1)
    X = pd.DataFrame({"x": [0.0, 1.0, 2.0]})
    pipeline = Pipeline([("regress", LinearRegression())]).fit(X, X["x"])
    with pytest.raises(ConvertError, match="skl2onnx can't convert it: "):
        convert(pipeline, [feature], 2)
