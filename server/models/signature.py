"""Model signatures: each column's datatype and limits, and the validation of columns.

The rules come from the manifest. JSON records are checked during decoding, tensors as whole columns
(`Signature.check`); both describe the expected value with the same words (`Column.expectation`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidArgument, PayloadTooLarge
from server.models.manifest import Feature, Scalar
from server.models.quoting import NO_SURROGATE, NumberText, difference, has_surrogate, quoted, quoted_name, quoted_value

Columns = Mapping[str, NDArray[Any]]
"""Feature name to an array of shape [rows, 1]."""

Values = Sequence[Scalar | None] | NDArray[Any]
"""Checked values of one feature.

Either Python values with None for null, or an array that holds the model's null value.
"""

_EXACT_LIMIT: Final = 2.0**64

Outputs = Sequence[NDArray[Any]]
"""Output tensors of a run in the manifest's order, rows first."""

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}
"""Open Inference Protocol datatype to numpy dtype; BYTES columns hold Python strings."""


@dataclass(frozen=True, slots=True)
class Column:
    """One feature with its derived dtype and value limits."""

    feature: Feature
    dtype: np.dtype[Any]
    low: float | int | None
    """Lowest allowed value, by default the datatype's; None for unordered datatypes."""
    high: float | int | None
    allowed: frozenset[Scalar] | None

    @classmethod
    def of(cls, feature: Feature) -> "Column":
        """Return the column of a feature."""
        dtype = DTYPES[feature.datatype]
        low, high = _limits(feature, dtype)
        return cls(feature, dtype, low, high, None if feature.categories is None else frozenset(feature.categories))

    def expectation(self, got: object = None) -> str:
        """Return a description of the allowed values, as all error messages show it.

        A limit of the datatype alone is included only if the given value, `got`, exceeds it.
        """
        return self._expectation(*self._bounds(got)) + (" or null" if self.feature.nullable else "")

    def fault(self, got: object) -> str:
        """Return a description of the expected and the given value."""
        if isinstance(got, str):
            other = difference(got, [each for each in self.allowed or () if isinstance(each, str)])
            return f"expected {self.expectation()}; got {quoted(got)}{NO_SURROGATE * has_surrogate(got)}{other}"
        return f"expected {self.expectation(got)}; got {quoted_value(got)}"

    def _bounds(self, got: object) -> tuple[float | int | None, float | int | None]:
        """Return the manifest's limits, or the datatype's limit if `got` exceeds only that one."""
        low, high = self.feature.minimum, self.feature.maximum
        if isinstance(got, int | float) and not isinstance(got, bool) and self.low is not None:
            low = self.low if low is None and got < self.low else low
            high = self.high if high is None and self.high is not None and got > self.high else high
        return low, high

    def _expectation(self, low: float | None, high: float | None) -> str:
        feature = self.feature
        if feature.categories is not None:
            return "one of " + ", ".join(f'"{c}"' if isinstance(c, str) else str(c) for c in feature.categories)
        if feature.datatype in {"BYTES", "BOOL"}:
            return "a string" if feature.datatype == "BYTES" else "true or false"
        noun = "a number" if feature.is_float else "an integer"
        match low, high:
            case None, None:
                return noun if not feature.is_float else "a finite number"
            case low, None:
                return f"{noun} of at least {_format_limit(low)}"
            case None, high:
                return f"{noun} of at most {_format_limit(high)}"
            case low, high:
                return f"{noun} from {_format_limit(low)} to {_format_limit(high)}"

    def array(self, values: Sequence[Scalar | None]) -> NDArray[Any]:
        """Return checked values, null as None, as an array of shape [rows, 1]."""
        null = self.feature.null
        if null is not None and None in values:
            values = [null if value is None else value for value in values]
        return np.array(values, dtype=self.dtype).reshape(-1, 1)

    def can_hold(self, value: Scalar | None) -> bool:
        """Return whether the datatype can hold a value, without the manifest's limits."""
        if value is None:
            return self.feature.nullable
        if self.dtype.kind == "b" or isinstance(value, bool):
            return self.dtype.kind == "b" and isinstance(value, bool)
        if self.dtype.kind == "O" or isinstance(value, str):
            return self.dtype.kind == "O" and isinstance(value, str)
        if self.low is not None and self.high is not None and self.low <= value <= self.high:
            return self.feature.is_float or value == int(value)
        if self.feature.is_float:
            return abs(value) <= float(np.finfo(self.dtype).max)
        limits = np.iinfo(self.dtype)
        return int(limits.min) <= value <= int(limits.max) and value == int(value)

    def check(self, array: NDArray[Any]) -> None:
        """Raise InvalidArgument, naming feature and row, unless this column allows every value."""
        is_invalid = self.invalid(array)
        if is_invalid.any():
            row = int(np.flatnonzero(is_invalid)[0])
            message = self.fault(_python_value(array.reshape(-1)[row]))
            raise InvalidArgument(f"{quoted_name(self.feature.name)}: row {row}: {message}", field=self.feature.name)

    def invalid(self, array: NDArray[Any]) -> NDArray[np.bool_]:
        """Return for each value whether this column rejects it.

        The model's null value is allowed.
        """
        values = array.reshape(-1)
        null = self.feature.null
        if self.allowed is not None:
            allowed = self.allowed | {null} if null is not None else self.allowed
            if self.dtype.kind in "iu":
                return ~np.isin(values, np.array([*allowed], dtype=self.dtype), kind="sort")
            return np.fromiter((value not in allowed for value in values.tolist()), np.bool_, len(values))
        if self.low is None or self.high is None:
            return np.zeros(len(values), np.bool_)
        is_invalid = ~((values >= self.low) & (values <= self.high))  # a NaN is in no range
        if null is not None:
            is_invalid &= ~(np.isnan(values) if null != null else values == null)  # noqa: PLR0124 # only a NaN differs from itself
        return is_invalid


def _format_limit(bound: float | None) -> str:
    """Return a limit with all necessary digits; a large integer gets no exponent."""
    if bound is not None and abs(bound) < _EXACT_LIMIT and bound == int(bound):
        return str(int(bound))
    return f"{bound:.15g}"


def _python_value(value: Any) -> object:  # noqa: ANN401 # an element of any array
    """Return an array element as a Python value.

    A float32 gets only the digits that it needs, not those of a double.
    """
    if isinstance(value, np.floating) and np.isfinite(value):
        return NumberText(str(value))
    return value.item() if isinstance(value, np.generic) else value


def _limits(feature: Feature, dtype: np.dtype[Any]) -> tuple[float | int | None, float | int | None]:
    if feature.datatype in {"BOOL", "BYTES"}:
        return None, None
    if feature.is_float:
        finite = np.finfo(dtype)
        low, high = float(finite.min), float(finite.max)
        return (
            low if feature.minimum is None else max(low, feature.minimum),
            high if feature.maximum is None else min(high, feature.maximum),
        )
    integer_limits = np.iinfo(dtype)
    return (
        integer_limits.min if feature.minimum is None else max(integer_limits.min, math.ceil(feature.minimum)),
        integer_limits.max if feature.maximum is None else min(integer_limits.max, math.floor(feature.maximum)),
    )


class Signature:
    """The columns of a model, in the manifest's order."""

    def __init__(self, features: Iterable[Feature]) -> None:
        self.columns = tuple(Column.of(feature) for feature in features)
        self.by_name = {column.feature.name: column for column in self.columns}
        self._free = [
            (index, column.feature.name)
            for index, column in enumerate(self.columns)
            if column.feature.datatype == "BYTES" and column.allowed is None
        ]
        """Index and name of each column that allows any string."""

    def arrays(self, rows: Sequence[Sequence[Scalar | None]]) -> dict[str, NDArray[Any]]:
        """Return one array of shape [rows, 1] per feature from rows of checked values.

        Each row has its values in the order of the features.
        """
        return {
            column.feature.name: column.array(values)
            for column, values in zip(self.columns, zip(*rows, strict=True), strict=True)
        }

    def from_records(self, records: Sequence[Mapping[str, Scalar | None]]) -> dict[str, NDArray[Any]]:
        """Return one array of shape [rows, 1] per feature from checked records.

        A null is absent or None.
        """
        return self.arrays([[record.get(column.feature.name) for column in self.columns] for record in records])

    def check(self, columns: Columns) -> None:
        """Check whole columns.

        Raises InvalidArgument with the feature, the row and the expected value.
        """
        for column in self.columns:
            column.check(columns[column.feature.name])

    @property
    def has_free_strings(self) -> bool:
        """Whether a column allows any string."""
        return bool(self._free)

    def check_strings(self, columns: Sequence[Any], max_bytes: int) -> None:
        """Raise PayloadTooLarge, naming the feature, for a string over `max_bytes` UTF-8 bytes.

        `columns` holds the values of each feature in order, null as None.
        """
        for index, name in self._free:
            longest = max((len(value.encode()) for value in columns[index] if value is not None), default=0)
            if longest > max_bytes:
                raise PayloadTooLarge(
                    f"{name}: expected strings of at most {max_bytes} bytes; got {longest}", field=name
                )
