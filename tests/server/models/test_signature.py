"""Conversion of features to columns, and validation of columns."""

from typing import Any

import numpy as np
import pytest

from server.errors import InvalidArgument
from server.models.manifest import Feature
from server.models.signature import DTYPES, Column, Signature


def _feature(datatype: str, name: str = "x", **members: Any) -> Feature:  # noqa: ANN401 # of any type
    return Feature(name=name, datatype=datatype, description="", example=0, field_number=1, **members)  # type: ignore[arg-type] # one of Datatype


def _column(datatype: str, **members: Any) -> Column:  # noqa: ANN401 # of any type
    return Column.of(_feature(datatype, **members))


@pytest.mark.parametrize(
    ("datatype", "members", "words"),
    [
        ("BOOL", {}, "true or false"),
        ("BYTES", {}, "a string"),
        ("BYTES", {"categories": ["a", "b"]}, 'one of "a", "b"'),
        ("INT64", {"categories": [1, 2]}, "one of 1, 2"),
        ("INT64", {}, "an integer"),
        ("INT64", {"minimum": 0}, "an integer of at least 0"),
        ("INT64", {"maximum": 9}, "an integer of at most 9"),
        ("FP32", {}, "a finite number"),
        ("FP32", {"minimum": 0.5, "maximum": 120}, "a number from 0.5 to 120"),
        ("FP32", {"maximum": 1.5}, "a number of at most 1.5"),
        ("FP64", {"minimum": 1234567.25}, "a number of at least 1234567.25"),
        ("FP32", {"nullable": True, "null_value": "NaN"}, "a finite number or null"),
    ],
)
def test_expectation(datatype: str, members: dict[str, Any], words: str) -> None:
    """A column's expectation is described in words."""
    assert _column(datatype, **members).expectation() == words


@pytest.mark.parametrize("datatype", DTYPES)
def test_array_has_the_datatype(datatype: str) -> None:
    """Values become a column with the numpy type of the datatype."""
    values: list[Any] = ["a", "b"] if datatype == "BYTES" else [True, False]
    array = _column(datatype).array(values)
    assert (array.shape, array.dtype, array.reshape(-1).tolist()) == ((2, 1), DTYPES[datatype], values)


@pytest.mark.parametrize(
    ("datatype", "null_value", "fed"),
    [("FP32", "NaN", np.nan), ("FP32", -1.0, -1.0), ("INT64", -1, -1), ("BYTES", "", "")],
)
def test_null_is_fed_as_the_null_value(datatype: str, null_value: str | float, fed: object) -> None:
    """A null becomes the manifest's null value, which passes the check even below the minimum."""
    members = {} if datatype == "BYTES" else {"minimum": 0}
    column = _column(datatype, nullable=True, null_value=null_value, **members)
    array = column.array([None])
    np.testing.assert_array_equal(array, np.array([[fed]], dtype=array.dtype))
    column.check(array)


def test_null_value_of_a_category() -> None:
    """A column with categories also accepts its null value."""
    column = _column("BYTES", categories=["C", "Q"], nullable=True, null_value="")
    column.check(column.array(["C", None, "Q"]))


@pytest.mark.parametrize(
    ("datatype", "members", "values", "row"),
    [
        ("FP32", {}, [0, np.nan], 1),
        ("FP32", {}, [0, 0, np.inf], 2),
        ("FP64", {}, [-np.inf], 0),
        ("FP32", {"minimum": 0}, [0, -0.5], 1),
        ("FP32", {"maximum": 120}, [120, 120.5], 1),
        ("FP32", {"nullable": True, "null_value": -1.0}, [-1, np.nan], 1),
        ("INT8", {"maximum": 5}, [5, 6], 1),
        ("INT64", {"minimum": 1}, [1, 0], 1),
        ("INT64", {"minimum": 0.5}, [1, 0], 1),
        ("UINT64", {"maximum": 5}, [2**64 - 1], 0),
        ("INT64", {"categories": [1, 2]}, [1, 3], 1),
        ("BYTES", {"categories": ["a"]}, ["a", "b"], 1),
        ("BYTES", {"categories": ["a"]}, ["a", ""], 1),
    ],
)
def test_check_names_the_row(datatype: str, members: dict[str, Any], values: list[Any], row: int) -> None:
    """An invalid value is rejected with its row and the expectation."""
    column = _column(datatype, **members)
    with pytest.raises(InvalidArgument) as refused:
        column.check(np.array(values, dtype=DTYPES[datatype]).reshape(-1, 1))
    assert refused.value.field == "x"
    assert refused.value.message.startswith(f"x: row {row}: expected {column.expectation(values[row])}; got ")


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("BOOL", [True, False]),
        ("BYTES", ["", "a"]),
        ("INT8", [-128, 127]),
        ("INT64", [-(2**63), 2**63 - 1]),
        ("UINT64", [0, 2**64 - 1]),
        ("FP16", [-65504, 65504]),
        ("FP32", [np.finfo(np.float32).min, np.finfo(np.float32).max]),
        ("FP64", [np.finfo(np.float64).min, np.finfo(np.float64).max]),
    ],
)
def test_whole_range_of_a_datatype_is_allowed(datatype: str, values: list[Any]) -> None:
    """Without a range in the manifest a column accepts the complete range of its datatype."""
    _column(datatype).check(np.array(values, dtype=DTYPES[datatype]).reshape(-1, 1))


def test_records_to_columns() -> None:
    """Records become one array per feature in the manifest's order; a missing name is null."""
    signature = Signature([_feature("INT64"), _feature("FP32", name="y", nullable=True, null_value="NaN")])
    columns = signature.from_records([{"y": 0.5, "x": 1}, {"x": 2}])
    assert list(columns) == ["x", "y"]
    np.testing.assert_array_equal(columns["x"], np.array([[1], [2]], dtype=np.int64), strict=True)
    np.testing.assert_array_equal(columns["y"], np.array([[0.5], [np.nan]], dtype=np.float32), strict=True)


def test_check_of_several_columns() -> None:
    """The error names the first feature with an invalid value."""
    signature = Signature([_feature("INT64"), _feature("FP32", name="y", minimum=0)])
    with pytest.raises(InvalidArgument, match="y: row 0"):
        signature.check(signature.from_records([{"x": 1, "y": -1.0}]))
