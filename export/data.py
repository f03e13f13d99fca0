"""A table to checked features and target, split so that a row held out once is held out of every later version."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from export.spec import Spec
from server.errors import InvalidArgument
from server.manifest import Feature
from server.signature import Signature

HELD_OUT_SHARE: Final = 0.2
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}


class DataError(Exception):
    """The table is not the data set the spec describes; the message names the column and the row."""


@dataclass(frozen=True, slots=True)
class Table:
    """A file as it was read: every cell its text, an empty one missing."""

    name: str
    cells: pd.DataFrame
    sha256: str
    path: str
    """Where it was read from, for messages."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Features as the model will be fed them (null as each feature's null value) and the target of each row."""

    table: Table
    X: pd.DataFrame
    y: NDArray[Any]
    """Names of classes, or numbers."""


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to fit on, and rows held out to be scored on."""

    X_train: pd.DataFrame
    X_test: pd.DataFrame
    y_train: NDArray[Any]
    y_test: NDArray[Any]
    held_out: NDArray[np.bool_]
    """Of each row of the data set, whether it is among the latter."""


def load(spec: Spec, path: Path | None = None) -> Dataset:
    """Read and check the CSV file at `path`, or else the spec's own. Raises DataError."""
    where = path or spec.data
    if where is None:
        raise DataError(f"{spec.name}: its spec names no data; --data FILE does")
    return dataset(read_table(where), spec)


def read_table(path: Path) -> Table:
    """Read a CSV file with a line of column names. Raises DataError where it can't be read or is none."""
    try:
        content = path.read_bytes()
        # The line of names as a row: pandas would else rename one that stands there twice, and take the first column
        # for names of the rows where each of them has a cell more.
        lines = pd.read_csv(
            io.BytesIO(content), header=None, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8-sig"
        )
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    cells = lines.iloc[1:].reset_index(drop=True).set_axis(lines.iloc[0].fillna("").tolist(), axis=1)
    return Table(path.name, cells, hashlib.sha256(content).hexdigest(), str(path))


def fetch_table(spec: Spec) -> Table:
    """Fetch the spec's data set from OpenML, by scikit-learn's own means and into its own cache.

    Raises DataError where the spec names none, or it can't be had.
    """
    if spec.openml is None:
        raise DataError(f"{spec.name}: its spec names no data set at OpenML")
    from sklearn.datasets import fetch_openml  # here: nothing else needs it

    try:
        # Its other parser trips over columns of numbers with the pandas that is pinned here.
        frame = fetch_openml(data_id=spec.openml, as_frame=True, parser="liac-arff").frame
    except Exception as error:  # urllib, http, ssl and the parser raise what each has
        raise DataError(f"OpenML {spec.openml}: {type(error).__name__}: {error}") from error
    cells = frame.astype(object).where(frame.notna(), None).map(lambda cell: cell if cell is None else str(cell))
    digest = hashlib.sha256(cells.to_csv(index=False).encode()).hexdigest()
    return Table(f"openml-{spec.openml}", cells, digest, f"OpenML {spec.openml}")


def dataset(table: Table, spec: Spec) -> Dataset:
    """Check a table against the spec. Raises DataError, naming column and row, for what the signature doesn't allow."""
    X = features_of(table, spec.features)
    for feature in spec.features:
        if feature.nullable and _column(table, feature.name).isna().all():
            raise DataError(f"{table.path}: {feature.name}: no row has a value")
    cells = _column(table, spec.target)
    if cells.isna().any():
        raise DataError(f"{spec.target}: row {int(cells.isna().argmax())}: expected a value; the cell is empty")
    return Dataset(table, X, _classes(cells, spec) if spec.classes else _numbers(cells, spec.target))


def features_of(table: Table, features: Sequence[Feature]) -> pd.DataFrame:
    """Return a signature's columns of a table. Raises DataError, naming column and row, for what it doesn't allow."""
    X = pd.DataFrame({feature.name: _feature(_column(table, feature.name), feature) for feature in features})
    try:
        Signature(features).check(columns(X))
    except InvalidArgument as error:
        raise DataError(f"{table.path}: {error.message}") from error
    return X


def columns(X: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Return the columns as the model takes them: name to an array of shape [rows, 1]."""
    return {str(name): X[[name]].to_numpy() for name in X.columns}


def split(data: Dataset, seed: int) -> Split:
    """Hold out about a fifth of the rows, each decided by what stands in it and the seed alone.

    So a row has the same side in every later version of the data, and rows that are alike are on one side: a model is
    never scored on what it, or the version it is compared with, was fitted on. Raises DataError where too few are left.
    """
    held_out = row_numbers(data.X, seed) < HELD_OUT_SHARE * 2**64
    part = Split(data.X[~held_out], data.X[held_out], data.y[~held_out], data.y[held_out], held_out)
    if len(part.y_test) < 2 or len(part.y_train) < 2:
        raise DataError(f"{data.table.path}: {len(data.y)} rows are too few to hold some out")
    if data.y.dtype == object:
        missing = set(data.y) - set(part.y_test) or set(data.y) - set(part.y_train)
        if missing:
            raise DataError(f"{data.table.path}: too few rows of {min(missing)!r} to hold some out")
    return part


def row_numbers(X: pd.DataFrame, seed: int) -> NDArray[np.uint64]:
    """Return a number below 2**64 for each row, drawn by what stands in it and the seed."""
    rows = zip(*(X[name].tolist() for name in X.columns), strict=True)
    key = str(seed).encode()
    drawn = (hashlib.blake2b(repr(row).encode(), key=key, digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(drawn), dtype="<u8")


def _column(table: Table, name: str) -> "pd.Series[str]":
    """Return the column of this name, or else the one that has it in other cases: Kaggle writes Pclass and SibSp."""
    names = [str(each) for each in table.cells.columns]
    alike = [each for each in names if each == name] or [each for each in names if each.lower() == name.lower()]
    if not alike:
        raise DataError(f"{table.path}: expected a column {name!r}; there is {', '.join(names)}")
    if len(alike) > 1:
        raise DataError(f"{table.path}: column {name!r} could be any of {', '.join(alike)}")
    return table.cells[alike[0]]


def _feature(cells: "pd.Series[str]", feature: Feature) -> "pd.Series[Any]":
    """Return one feature's cells as numbers or strings; an empty cell becomes the feature's null value."""
    empty = cells.isna()
    if empty.any() and not feature.nullable:
        raise DataError(f"{feature.name}: row {int(empty.argmax())}: expected a value; the cell is empty")
    filled = cells.astype(object).where(~empty, feature.null)
    if feature.datatype == "BYTES":
        return filled
    dtype = Signature([feature]).columns[0].dtype
    if feature.datatype == "BOOL":
        truths = filled.map(lambda cell: _BOOLEANS.get(str(cell).lower()))
        if truths.isna().any():
            row = int(truths.isna().argmax())
            raise DataError(f"{feature.name}: row {row}: expected true or false, 1 or 0; got {cells[row]}")
        return truths.astype(dtype)
    try:
        numbers = pd.to_numeric(filled)
        if dtype.kind in "iu" and not np.array_equal(numbers, numbers.astype(dtype)):
            raise DataError(f"{feature.name}: expected whole numbers of {feature.datatype}; got {_broken(numbers)}")
        return numbers.astype(dtype)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{feature.name}: expected numbers: {error}") from error


def _broken(numbers: "pd.Series[Any]") -> str:
    return str(numbers[numbers != numbers.round()].head(1).to_list() or numbers.max())


def _classes(cells: "pd.Series[str]", spec: Spec) -> NDArray[Any]:
    names = {str(value): name for value, name in spec.classes.items()}
    cells = cells.map(lambda cell: cell if cell in names else cell.removesuffix(".0"))  # an integer that was a float
    unknown = ~cells.isin(list(names))
    if unknown.any():
        row = int(unknown.argmax())
        raise DataError(f"{spec.target}: row {row}: expected one of {', '.join(names)}; got {cells[row]}")
    return np.array([names[cell] for cell in cells], dtype=object)


def _numbers(cells: "pd.Series[str]", target: str) -> NDArray[Any]:
    try:
        numbers = pd.to_numeric(cells).to_numpy(np.float64)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{target}: expected numbers: {error}") from error
    if not np.isfinite(numbers).all():
        raise DataError(f"{target}: row {int((~np.isfinite(numbers)).argmax())}: expected a finite number")
    return numbers
