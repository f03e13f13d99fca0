"""Verify parity of scikit-learn and onnxruntime on rows, signature edges and thresholds."""

import itertools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from export.conversion.convert import ConvertedModel
from export.conversion.diagnosis import batch_cause, likely_cause
from export.data.dataset import columns
from server.models.deferred_signals import deferred_signals
from server.models.manifest import Feature, Golden, Parity, Scalar
from server.models.session import open_session
from server.models.signature import Column, Columns, Signature

TOLERANCE: Final = 1e-5
"""Largest allowed difference between float32 and the double precision of scikit-learn.

For a classifier, the difference of a probability. For a regression, the difference of the value as a share of the
target's standard deviation, or of the value if that is larger.
"""
BATCH_ROWS: Final = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 100)
"""Batch sizes around the vector widths at which kernels use other code."""
WORST_ROWS: Final = 5
_NARROWER: Final = "if such a value is not possible, set the feature's minimum and maximum, or its categories"
_CHUNK_ROWS: Final = 20_000
UNSEEN: Final = "\N{EARTH GLOBE AMERICAS} none of these"
"""A category that is in no training row."""


class ParityError(Exception):
    """Error for different predictions of the ONNX model and scikit-learn; it prevents the publication."""


class Verifier:
    """A converted model in an onnxruntime session, with its scikit-learn pipeline."""

    def __init__(
        self, pipeline: Pipeline, converted: ConvertedModel, features: Sequence[Feature], deviation: float = 1.0
    ) -> None:
        """Open the session as the server does. `deviation` is a regression target's standard deviation."""
        self._features = tuple(features)
        self._signature = Signature(features)
        self._pipeline = pipeline
        self._session = open_session(converted.model)
        self._names = [output.name for output in converted.outputs]
        self._is_regression = converted.outputs[0].role == "value"
        self.tolerance = TOLERANCE * (deviation if self._is_regression else 1.0)

    def run(self, X: pd.DataFrame) -> tuple[NDArray[Any] | None, NDArray[Any]]:
        """Return the labels and the probabilities or values of the ONNX model.

        Shapes: labels [rows] (None for a regression), probabilities [rows, classes], values [rows, 1].
        """
        outputs = self._outputs(self._names, columns(X))
        return (None, outputs[0]) if self._is_regression else (outputs[0], outputs[1])

    def _outputs(self, names: Sequence[str], columns: Columns) -> list[NDArray[Any]]:
        with deferred_signals():
            return list(self._session.run(list(names), columns))

    def parity(self, X: pd.DataFrame, edge_rows: int = 0, threshold_rows: int = 0) -> Parity:
        """Compare the predictions of both models for every row.

        `edge_rows` and `threshold_rows` are the numbers of edge rows and threshold rows in `X`, for the report. Raises
        ParityError, with the worst rows and the likely cause, for a different label or too large a difference.
        """
        parts = [self._compare(X.iloc[start : start + _CHUNK_ROWS]) for start in range(0, len(X), _CHUNK_ROWS)]
        differences, allowed = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
        flips = np.concatenate([part[2] for part in parts])
        with np.errstate(invalid="ignore"):
            is_wrong = flips | ~(differences <= allowed)
        if is_wrong.any():
            raise ParityError(self._explain(X, differences, flips, is_wrong))
        return Parity(
            rows=len(X),
            label_flips=0,
            max_abs_difference=float(f"{(differences * (self.tolerance / allowed)).max():.3g}"),
            tolerance=float(f"{self.tolerance:.6g}"),
            edge_rows=edge_rows,
            threshold_rows=threshold_rows,
        )

    def _compare(self, X: pd.DataFrame) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """Return the difference, the allowed difference and the label mismatch of each row."""
        try:
            labels, predictions = self.run(X)
            predicted = np.asarray(self._pipeline.predict(X))
            expected = predicted.reshape(-1, 1) if labels is None else self._pipeline.predict_proba(X)
        except Exception as error:  # each library raises its own classes for an unsupported value
            raise ParityError(
                f"the prediction for a row that the signature allows failed: {error}\n{_NARROWER}"
            ) from error
        if labels is None:
            allowed = np.maximum(self.tolerance, TOLERANCE * np.abs(expected[:, 0]))
            flips = np.zeros(len(X), np.bool_)
        else:
            allowed = np.full(len(X), self.tolerance)
            flips = labels.reshape(-1) != predicted
        with np.errstate(invalid="ignore"):
            return np.abs(predictions - expected).max(axis=1), allowed, flips

    def _explain(
        self, X: pd.DataFrame, differences: NDArray[Any], flips: NDArray[np.bool_], is_wrong: NDArray[np.bool_]
    ) -> str:
        severity = np.where(np.isnan(differences), np.inf, differences)
        order = np.argsort(np.where(is_wrong, -severity, np.inf), kind="stable")[: min(WORST_ROWS, int(is_wrong.sum()))]
        worst = X.iloc[order]
        _, predictions = self.run(worst)
        expected = self._pipeline.predict(worst) if self._is_regression else self._pipeline.predict_proba(worst)
        lines = [
            f"  {row}: onnxruntime {np.round(got, 7).tolist()}, scikit-learn {np.round(expected_row, 7).tolist()}"
            for row, got, expected_row in zip(worst.to_dict("records"), predictions, np.asarray(expected), strict=True)
        ]
        noun = "values" if self._is_regression else "probabilities"
        summary = (
            f"{int(flips.sum())} labels of {len(X)} differ, {noun} of {int(is_wrong.sum())} rows by up to "
            f"{differences[order[0]]:.3g} (the tolerance is {self.tolerance:g}); the worst:"
        )
        cause = f"likely cause: {likely_cause(self._pipeline, self._features, worst.iloc[0])}"
        return "\n".join([summary, *lines, cause])

    def min_batch_rows(self, X: pd.DataFrame) -> int:
        """Return the smallest batch size from which predictions don't depend on other rows.

        Some kernels use other code for a single row, and the last bit of the prediction differs. Raises ParityError if
        the smallest size is above 32.
        """
        output_name, arrays = self._names[-1], columns(X)
        (batch_outputs,) = self._outputs([output_name], arrays)
        min_rows = 1
        for rows in BATCH_ROWS:
            parts = [
                self._outputs([output_name], {name: each[start : start + rows] for name, each in arrays.items()})[0]
                for start in range(0, len(X) - rows + 1, rows)
            ]
            if not parts:
                continue
            part_outputs = np.concatenate(parts)
            if not np.array_equal(part_outputs, batch_outputs[: len(part_outputs)]):
                min_rows = BATCH_ROWS[BATCH_ROWS.index(rows) + 1] if rows < BATCH_ROWS[-1] else rows + 1
        if min_rows > 32:
            message = f"predictions depend on the other rows of the batch, up to batches of {min_rows} rows"
            raise ParityError(f"{message}\nlikely cause: {batch_cause(self._pipeline)}")
        return min_rows

    def golden(self, records: list[dict[str, Scalar | None]]) -> Golden:
        """Return the records with the current outputs of the model."""
        outputs = self._outputs(self._names, self._signature.from_records(records))
        output_values = {name: output.tolist() for name, output in zip(self._names, outputs, strict=True)}
        tolerance = self.tolerance
        if self._is_regression:
            tolerance = max(tolerance, TOLERANCE * float(np.abs(outputs[0]).max()))
        return Golden(records=records, outputs=output_values, tolerance=float(f"{tolerance:.6g}"))


def edge_records(features: Sequence[Feature], example: dict[str, Scalar | None]) -> list[dict[str, Scalar | None]]:
    """Return records that test the edge values of each feature.

    The first record is the example. Each of the next records changes one feature: to null, a category, a limit, -0.0 or
    a very small number, for example. The last ones set pairs of nullable features to null, and all of them.
    """
    records = [example]
    for feature in features:
        values: list[Scalar | None] = list(feature.categories or ())
        if feature.nullable:
            values.append(None)
        if feature.categories is None:
            values += _edges(feature)
        records += [example | {feature.name: value} for value in values]
    nullable = [feature.name for feature in features if feature.nullable]
    return [
        *records,
        *(example | dict.fromkeys(names) for names in itertools.combinations(nullable, 2)),
        example | dict.fromkeys(nullable),
    ]


def edge_rows(features: Sequence[Feature], records: Sequence[dict[str, Scalar | None]]) -> pd.DataFrame:
    """Return records as an input table of the pipeline."""
    arrays = Signature(features).from_records(list(records))
    return pd.DataFrame({name: array.reshape(-1) for name, array in arrays.items()})


def _edges(feature: Feature) -> list[Scalar | None]:
    """Return edge values of a feature without categories: limits, extreme numbers, unusual strings."""
    if feature.datatype == "BYTES":
        return [UNSEEN, " "] if feature.null == "" else [UNSEEN, " ", ""]
    if feature.datatype == "BOOL":
        return [False, True]
    column = Column.of(feature)
    low, high = column.low, column.high
    assert low is not None  # noqa: S101 # a number column has both limits
    assert high is not None  # noqa: S101 # a number column has both limits
    typical_values: list[float | int] = [-0.0, 1e-45, 1e-38, 0.5, 1e6] if feature.is_float else [0, 1, 2, 10, 1000]
    return [n if feature.is_float else int(n) for n in [low, high, *typical_values] if low <= n <= high]
