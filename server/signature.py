"""Features to columns: what each column of a model holds, and the check that given columns are such.

The rules are the manifest's. JSON records are checked while they are decoded (`server.records`), tensors as whole
columns (`Signature.check`); both say what was expected in the same words (`Column.expectation`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidArgument, PayloadTooLarge
from server.manifest import Feature, Scalar

Columns = Mapping[str, NDArray[Any]]
"""Feature name to an array of shape [rows, 1]."""

Outputs = Sequence[NDArray[Any]]
"""A run's output tensors in the manifest's order, rows first."""

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
"""Open Inference Protocol datatype to numpy's; BYTES columns hold Python strings."""


@dataclass(frozen=True, slots=True)
class Column:
    """One feature, with everything that can be worked out once: dtype and the limits a value must keep."""

    feature: Feature
    dtype: np.dtype[Any]
    low: float | int | None
    """Least value allowed; the datatype's own where the manifest gives none; None for what has no order."""
    high: float | int | None
    allowed: frozenset[Scalar] | None

    @classmethod
    def of(cls, feature: Feature) -> "Column":
        """Return the column of a feature."""
        dtype = DTYPES[feature.datatype]
        low, high = _limits(feature, dtype)
        return cls(feature, dtype, low, high, None if feature.categories is None else frozenset(feature.categories))

    def expectation(self) -> str:
        """Say in words what a value must be, as every error message does."""
        return self._expectation() + (" or null" if self.feature.nullable else "")

    def _expectation(self) -> str:
        feature = self.feature
        if feature.categories is not None:
            return "one of " + ", ".join(f'"{c}"' if isinstance(c, str) else str(c) for c in feature.categories)
        if feature.datatype in {"BYTES", "BOOL"}:
            return "a string" if feature.datatype == "BYTES" else "true or false"
        noun = "a number" if feature.is_float else "an integer"
        match feature.minimum, feature.maximum:
            case None, None:
                return noun if not feature.is_float else "a finite number"
            case low, None:
                return f"{noun} of at least {low:.15g}"
            case None, high:
                return f"{noun} of at most {high:.15g}"
            case low, high:
                return f"{noun} from {low:.15g} to {high:.15g}"

    def array(self, values: Sequence[Scalar | None]) -> NDArray[Any]:
        """Return values that were checked, null as None, as an array of shape [rows, 1]."""
        null = self.feature.null
        if null is not None and None in values:
            values = [null if value is None else value for value in values]
        return np.array(values, dtype=self.dtype).reshape(-1, 1)

    def can_hold(self, value: Scalar | None) -> bool:
        """Return whether a value is one that the datatype has, whatever the manifest allows of them."""
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
        """Raise InvalidArgument, naming feature and row, unless every value is one this column may hold."""
        bad = self.bad(array)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            got = str(array.reshape(-1)[row])[:40]
            name = self.feature.name
            raise InvalidArgument(f"{name}: row {row}: expected {self.expectation()}; got {got}", field=name)

    def bad(self, array: NDArray[Any]) -> NDArray[np.bool_]:
        """Return, of each value, whether this column may not hold it; null as the model has it is sound."""
        values = array.reshape(-1)
        null = self.feature.null
        if self.allowed is not None:
            allowed = self.allowed | {null} if null is not None else self.allowed
            if self.dtype.kind in "iu":
                return ~np.isin(values, np.array([*allowed], dtype=self.dtype), kind="sort")
            return np.fromiter((value not in allowed for value in values.tolist()), np.bool_, len(values))
        if self.low is None or self.high is None:
            return np.zeros(len(values), np.bool_)
        bad = ~((values >= self.low) & (values <= self.high))  # a NaN is in no range
        if null is not None:
            bad &= ~(np.isnan(values) if null != null else values == null)  # noqa: PLR0124 # only a NaN differs from itself
        return bad


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
    whole = np.iinfo(dtype)
    return (
        whole.min if feature.minimum is None else max(whole.min, math.ceil(feature.minimum)),
        whole.max if feature.maximum is None else min(whole.max, math.floor(feature.maximum)),
    )


class Signature:
    """The columns of a model, in the manifest's order."""

    def __init__(self, features: Iterable[Feature]) -> None:
        self.columns = tuple(Column.of(feature) for feature in features)
        self.by_name = {column.feature.name: column for column in self.columns}
        self._free = [
            (place, column.feature.name)
            for place, column in enumerate(self.columns)
            if column.feature.datatype == "BYTES" and column.allowed is None
        ]
        """The columns that may hold any string."""

    def arrays(self, rows: Sequence[Sequence[Scalar | None]]) -> dict[str, NDArray[Any]]:
        """Turn rows of checked values, each in the features' order, into one array of shape [rows, 1] a feature."""
        return {
            column.feature.name: column.array(values)
            for column, values in zip(self.columns, zip(*rows, strict=True), strict=True)
        }

    def from_records(self, records: Sequence[Mapping[str, Scalar | None]]) -> dict[str, NDArray[Any]]:
        """Turn checked records, nulls absent or None, into one array of shape [rows, 1] a feature."""
        return self.arrays([[record.get(column.feature.name) for column in self.columns] for record in records])

    def check(self, columns: Columns) -> None:
        """Check whole columns. Raises InvalidArgument, naming the feature, the row and what was expected."""
        for column in self.columns:
            column.check(columns[column.feature.name])

    @property
    def has_free_strings(self) -> bool:
        """Whether a column may hold any string."""
        return bool(self._free)

    def check_strings(self, columns: Sequence[Any], max_bytes: int) -> None:
        """Raise PayloadTooLarge, naming the feature, for a string of more than `max_bytes` bytes in UTF-8.

        `columns` holds each feature's values, in their order, null as None.
        """
        for place, name in self._free:
            longest = max((len(value.encode()) for value in columns[place] if value is not None), default=0)
            if longest > max_bytes:
                raise PayloadTooLarge(
                    f"{name}: expected strings of at most {max_bytes} bytes; got {longest}", field=name
                )
