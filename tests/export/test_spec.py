"""Tests of reading a Python file as a consistent model spec."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.spec import Spec, SpecError, check_spec, read_spec
from export.titanic import TITANIC
from server.models.manifest import Feature
from tests.export import tiny

X = Feature(name="x", datatype="FP32", description="A number.", example=1.0)
REGRESSION = Spec(name="line", description="", kind="regression", target="y", features=(X,))


def test_titanic_is_sound() -> None:
    """The shipped spec is valid."""
    check_spec(TITANIC)


def test_a_file_is_read(tmp_path: Path) -> None:
    """A file that defines one Spec is read, whatever the variable's name."""
    tiny.write(tmp_path)
    spec = read_spec(tmp_path / "tiny.py")
    assert (spec.name, spec.kind, [feature.name for feature in spec.features]) == ("tiny", "binary", ["x", "y"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x = 1\n", "expected it to define one export.spec.Spec; it defines 0"),
        ("from export.pipelines import pipeline\n", "use: from export.spec import Spec, Feature, pipeline"),
        ("from server.manifest import Feature\n", "use: from export.spec import Spec, Feature, pipeline"),
        (
            tiny.SPEC + "OTHER = Spec(name='b', description='', kind='regression', target='t', features=())\n",
            "defines 2",
        ),
        ("import nothing_of_the_kind\n", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        ("def f(:\n", "SyntaxError: "),
        (tiny.SPEC.replace('name="tiny"', 'name="../tiny"'), "name: expected up to 64 of a-z"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: str, words: str) -> None:
    """A file that fails, or defines no valid Spec, is rejected with its path and the reason."""
    path = tmp_path / "spec.py"
    path.write_text(content)
    with pytest.raises(SpecError, match=re.escape(str(path)) + ".*" + re.escape(words)):
        read_spec(path)


@pytest.mark.parametrize("name", ["nowhere.py", "spec.txt"])
def test_a_path_that_is_none(tmp_path: Path, name: str) -> None:
    """A path without a Python file is rejected."""
    (tmp_path / "spec.txt").write_text(tiny.SPEC)
    with pytest.raises(SpecError, match="expected a Python file"):
        read_spec(tmp_path / name)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"target": "x"}, "target: 'x' is also a feature"),
        ({"features": ()}, "features: expected at least one"),
        ({"features": (X, X)}, "features: expected at least one, with unique names"),
        ({"classes": {0: "a"}}, "classes, positive_class: a regression has none"),
        ({"kind": "binary"}, "classes: expected two, with unique names; got none"),
        ({"kind": "binary", "classes": {0: "a", 1: "b", 2: "c"}}, "classes: expected two"),
        ({"kind": "binary", "classes": {0: "a", 1: "b"}}, "positive_class: expected one of a, b; got null"),
        ({"kind": "multiclass", "classes": {0: "a", 1: "a"}}, "classes: expected two or more"),
        ({"kind": "multiclass", "classes": {0: "a", 1: "b"}, "positive_class": "a"}, "only a binary model has one"),
    ],
)
def test_what_contradicts_itself(members: dict[str, Any], words: str) -> None:
    """An inconsistent spec is rejected with the wrong member."""
    with pytest.raises(SpecError, match=re.escape(words)):
        check_spec(replace(REGRESSION, **members))


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        (
            Feature(name="b", datatype="BOOL", nullable=True, null_value=False, description="", example=True),
            "b is BOOL",
        ),
        (
            Feature(name="a", datatype="FP32", minimum=0.0, description="", example=-1.0),
            "a: -1.0 is not a valid value",
        ),
        (
            Feature(name="a", datatype="INT64", categories=[1, 2], description="", example=3),
            "a: 3 is not a valid value",
        ),
        (
            Feature(name="a", datatype="INT8", categories=[1, 200], description="", example=1),
            "200 out of bounds for int8",
        ),
        (
            Feature(name="a", datatype="FP32", nullable=True, description="", example=1.0),
            "a is nullable and has no null",
        ),
    ],
)
def test_a_feature_that_contradicts_itself(feature: Feature, words: str) -> None:
    """A feature that doesn't allow its own example, category or null is rejected."""
    with pytest.raises(SpecError, match=re.escape(words)):
        check_spec(replace(REGRESSION, features=(feature,)))
