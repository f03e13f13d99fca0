"""A CSV file to checked features and target, split by a fixed seed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from server.errors import InvalidArgument
from server.manifest import Feature
from server.signature import Signature

HELD_OUT_SHARE = 0.2


class DataError(Exception):
    """The file is not the data set the spec describes; the message names the column and the row."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What is one model's own: everything else in `export` works for any of them."""

    name: str
    description: str
    data: Path
    target: str
    classes: Mapping[int, str]
    """Value of the target column to the name of its class; the names must sort as the classes are to stand."""
    positive_class: str
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Features as the model will be fed them (null as each feature's null value) and the class of each row."""

    name: str
    X: pd.DataFrame
    y: NDArray[Any]
    sha256: str


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to fit on, and rows held out to be scored on."""

    X_train: pd.DataFrame
    X_test: pd.DataFrame
    y_train: NDArray[Any]
    y_test: NDArray[Any]


def load(path: Path, spec: Spec) -> Dataset:
    """Read and check the file. Raises DataError, naming column and row, for anything the signature doesn't allow."""
    try:
        content = path.read_bytes()
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error
    missing = [name for name in [spec.target, *(f.name for f in spec.features)] if name not in table.columns]
    if missing:
        raise DataError(f"{path}: expected a column {missing[0]!r}; there is {', '.join(table.columns)}")
    X = pd.DataFrame({feature.name: _column(table[feature.name], feature) for feature in spec.features})
    try:
        Signature(spec.features).check(columns(X))
    except InvalidArgument as error:
        raise DataError(f"{path}: {error.message}") from error
    return Dataset(path.name, X, _classes(table[spec.target], spec), hashlib.sha256(content).hexdigest())


def columns(X: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Return the columns as the model takes them: name to an array of shape [rows, 1]."""
    return {str(name): X[[name]].to_numpy() for name in X.columns}


def split(dataset: Dataset, seed: int) -> Split:
    """Hold out a fifth of the rows, each class in its own share; the same seed holds out the same rows."""
    parts = train_test_split(dataset.X, dataset.y, test_size=HELD_OUT_SHARE, stratify=dataset.y, random_state=seed)
    return Split(*parts)


def _column(cells: "pd.Series[str]", feature: Feature) -> "pd.Series[Any]":
    """Return one feature's cells as numbers or strings; an empty cell becomes the feature's null value."""
    empty = cells.isna()
    if empty.any() and not feature.nullable:
        raise DataError(f"{feature.name}: row {int(empty.argmax())}: expected a value; the cell is empty")
    filled = cells.astype(object).where(~empty, feature.null)
    if feature.datatype == "BYTES":
        return filled
    dtype = Signature([feature]).columns[0].dtype
    try:
        return filled.astype(dtype)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{feature.name}: expected numbers: {error}") from error


def _classes(cells: "pd.Series[str]", spec: Spec) -> NDArray[Any]:
    names = {str(value): name for value, name in spec.classes.items()}
    unknown = ~cells.isin(list(names))
    if unknown.any():
        row = int(unknown.argmax())
        raise DataError(f"{spec.target}: row {row}: expected one of {', '.join(names)}; got {cells[row]}")
    return np.array([names[cell] for cell in cells], dtype=object)
