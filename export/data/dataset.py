"""Read a table into checked features and target, and split it stably."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from export.csv_rows import read_cells
from export.spec import Spec
from server.errors import RequestError
from server.models.manifest import Feature
from server.models.quoting import cell_value, quoted, quoted_names, quoted_value
from server.models.signature import DTYPES, Column

HELD_OUT_SHARE: Final = 0.2
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}


class DataError(Exception):
    """Error for a table that doesn't match the spec; the message names column and row."""


@dataclass(frozen=True, slots=True)
class Table:
    """The content of a file: each cell as text, an empty cell as missing."""

    name: str
    cells: pd.DataFrame
    sha256: str
    path: str
    """Source of the table, for error messages."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Features as model inputs, and the target of each row.

    A null is stored as the null value of its feature.
    """

    table: Table
    X: pd.DataFrame
    y: NDArray[Any]
    """Class names or numbers, shape [rows]."""


@dataclass(frozen=True, slots=True)
class Split:
    """Training rows and held-out rows for scores."""

    X_train: pd.DataFrame
    X_test: pd.DataFrame
    y_train: NDArray[Any]
    y_test: NDArray[Any]
    held_out: NDArray[np.bool_]
    """True for each row of the data set that is held out, shape [rows]."""


def load(spec: Spec, path: Path | None = None) -> Dataset:
    """Read and check the CSV file at `path`, by default the spec's file. Raises DataError."""
    source_path = path or spec.data
    if source_path is None:
        raise DataError(f"{spec.name}: its spec has no data; use --data FILE")
    return dataset(read_table(source_path), spec)


def read_table(path: Path) -> Table:
    """Read a CSV file with a header line. Raises DataError if the file is unreadable or invalid."""
    try:
        content = path.read_bytes()
        cells = read_cells(content)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except RequestError as error:
        raise DataError(f"{path}: {error.message.removeprefix('body: ')}") from error
    return Table(path.name, cells, hashlib.sha256(content).hexdigest(), str(path))


def fetch_table(spec: Spec) -> Table:
    """Fetch the spec's OpenML data set with scikit-learn, which caches it.

    Raises DataError if the spec names no data set or the download fails.
    """
    if spec.openml is None:
        raise DataError(f"{spec.name}: its spec has no OpenML data set")
    from sklearn.datasets import fetch_openml  # imported here: only this function needs it

    try:
        # The other parser fails on number columns with the pinned version of pandas.
        frame = fetch_openml(data_id=spec.openml, as_frame=True, parser="liac-arff").frame
    except Exception as error:  # urllib, http, ssl and the parser raise different classes
        raise DataError(f"OpenML {spec.openml}: {type(error).__name__}: {error}") from error
    cells = frame.astype(object).where(frame.notna(), None).map(lambda cell: cell if cell is None else str(cell))
    digest = hashlib.sha256(cells.to_csv(index=False).encode()).hexdigest()
    return Table(f"openml-{spec.openml}", cells, digest, f"OpenML {spec.openml}")


def dataset(table: Table, spec: Spec) -> Dataset:
    """Check a table against the spec and return its features and target.

    Raises DataError, naming column and row, for a value that the signature doesn't allow.
    """
    X = features_of(table, spec.features)
    for feature in spec.features:
        if feature.nullable and _column(table, feature.name).isna().all():
            raise DataError(f"{table.path}: {feature.name}: no row has a value")
    cells = _column(table, spec.target)
    if cells.isna().any():
        raise DataError(f"{spec.target}: row {_first(cells.isna())}: expected a value; the cell is empty")
    return Dataset(table, X, _classes(cells, spec) if spec.classes else _numbers(cells, spec.target))


def features_of(table: Table, features: Sequence[Feature]) -> pd.DataFrame:
    """Return the feature columns of a table.

    Raises DataError, naming column and row, for a value that the signature doesn't allow.
    """
    X = pd.DataFrame({feature.name: _feature(_column(table, feature.name), feature) for feature in features})
    for feature in features:
        column = Column.of(feature)
        is_invalid = column.invalid(X[[feature.name]].to_numpy())
        if is_invalid.any():
            invalid_rows = pd.Series(is_invalid, X.index)
            got = cell_value(_text(_column(table, feature.name), invalid_rows), is_string=feature.datatype == "BYTES")
            raise DataError(f"{table.path}: {feature.name}: row {_first(invalid_rows)}: {column.fault(got)}")
    return X


def columns(X: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Return the model inputs: one array of shape [rows, 1] per column name."""
    return {str(name): X[[name]].to_numpy() for name in X.columns}


def split(data: Dataset, seed: int) -> Split:
    """Hold out about a fifth of the rows, determined only by row values and seed.

    A row is therefore in the same part in every later version of the data, and equal rows are in the same part. A model
    is never scored on a row that this model, or the version it is compared with, was fitted on.

    Raises DataError if one part has too few rows, or no rows of a class.
    """
    held_out = row_numbers(data.X, seed) < HELD_OUT_SHARE * 2**64
    part = Split(data.X[~held_out], data.X[held_out], data.y[~held_out], data.y[held_out], held_out)
    if len(part.y_test) < 2 or len(part.y_train) < 2:
        raise DataError(f"{data.table.path}: {len(data.y)} rows are too few for held-out rows")
    if data.y.dtype == object:
        missing = set(data.y) - set(part.y_test) or set(data.y) - set(part.y_train)
        if missing:
            raise DataError(f"{data.table.path}: too few rows of {min(missing)!r} for held-out rows")
    return part


def row_numbers(X: pd.DataFrame, seed: int) -> NDArray[np.uint64]:
    """Return a hash below 2**64 for each row, from its values and the seed."""
    rows = zip(*(X[name].tolist() for name in X.columns), strict=True)
    key = str(seed).encode()
    digests = (hashlib.blake2b(repr(row).encode(), key=key, digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def _column(table: Table, name: str) -> "pd.Series[str]":
    """Return the column with this name, exact or else case-insensitive.

    For example, Kaggle writes Pclass and SibSp.
    """
    names = [str(each) for each in table.cells.columns]
    matches = [each for each in names if each == name] or [each for each in names if each.lower() == name.lower()]
    if not matches:
        raise DataError(f"{table.path}: expected a column {quoted(name)}; got {quoted_names(names)}")
    if len(matches) > 1:
        raise DataError(f"{table.path}: column {quoted(name)} matches several columns: {quoted_names(matches)}")
    return table.cells[matches[0]]


def _feature(cells: "pd.Series[str]", feature: Feature) -> "pd.Series[Any]":
    """Return the cells of a feature as numbers or strings, empty cells as null value."""
    is_empty = cells.isna()
    if is_empty.any() and not feature.nullable:
        raise DataError(f"{feature.name}: row {_first(is_empty)}: expected a value; the cell is empty")
    values = cells.astype(object).where(~is_empty, feature.null)
    if feature.datatype == "BYTES":
        return values
    dtype = DTYPES[feature.datatype]
    if feature.datatype == "BOOL":
        booleans = values.map(lambda text: _BOOLEANS.get(str(text).lower()))
        _check(cells, booleans.isna(), feature.name, "expected true or false, 1 or 0")
        return booleans.astype(dtype)
    numbers = pd.to_numeric(values, errors="coerce")
    _check(cells, numbers.isna() & ~is_empty & (cells.str.lower() != "nan"), feature.name, "expected numbers")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        is_whole = (numbers == numbers.round()) & (numbers >= limits.min) & (numbers <= limits.max)
        message = f"expected whole numbers of {feature.datatype}, from {limits.min} to {limits.max}"
        _check(cells, ~is_whole, feature.name, message)
    with np.errstate(over="ignore"):  # a number too large for the datatype becomes infinite, which every range excludes
        return numbers.astype(dtype)


def _check(cells: "pd.Series[str]", is_wrong: "pd.Series[bool]", name: str, expected: str) -> None:
    """Raise DataError for the first wrong cell, if any."""
    if is_wrong.any():
        got = quoted_value(cell_value(_text(cells, is_wrong), is_string=False))
        raise DataError(f"{name}: row {_first(is_wrong)}: {expected}; got {got}")


def _first(is_wrong: "pd.Series[bool]") -> int:
    """Return the row number, from 1, of the first wrong row in its file."""
    return int(is_wrong.index[int(is_wrong.argmax())]) + 1


def _text(cells: "pd.Series[str]", is_wrong: "pd.Series[bool]") -> str:
    """Return the cell text of the first wrong row."""
    return str(cells.iloc[int(is_wrong.argmax())])


def _classes(cells: "pd.Series[str]", spec: Spec) -> NDArray[Any]:
    names = {str(value): name for value, name in spec.classes.items()}
    cells = cells.map(lambda cell: cell if cell in names else cell.removesuffix(".0"))  # an integer written as a float
    is_unknown = ~cells.isin(list(names))
    if is_unknown.any():
        message = f"expected one of {', '.join(names)}; got {quoted(_text(cells, is_unknown))}"
        raise DataError(f"{spec.target}: row {_first(is_unknown)}: {message}")
    return np.array([names[cell] for cell in cells], dtype=object)


def _numbers(cells: "pd.Series[str]", target: str) -> NDArray[Any]:
    numbers = pd.to_numeric(cells, errors="coerce")
    _check(cells, numbers.isna(), target, "expected a finite number")
    _check(cells, ~np.isfinite(numbers), target, "expected a finite number")
    return numbers.to_numpy(np.float64)
