"""scikit-learn against onnxruntime: on every row, on the edges of the signature, alone and in company."""

import itertools
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from export.convert import Converted
from export.data import columns
from server.manifest import Feature, Golden, Parity, Scalar
from server.model import open_session
from server.signature import Signature

TOLERANCE: Final = 1e-5
"""Largest difference in a probability that float32 may cost against scikit-learn's double precision."""
BATCH_ROWS: Final = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 100)
"""Batch sizes on both sides of the widths at which kernels change their code."""


class ParityError(Exception):
    """The ONNX model and scikit-learn disagree: nothing may be published."""


class Verified:
    """A converted model open in onnxruntime, beside the pipeline it came from."""

    def __init__(self, pipeline: Pipeline, converted: Converted, features: Iterable[Feature]) -> None:
        """Open the session as the server will."""
        self._signature = Signature(features)
        self._pipeline = pipeline
        self._session = open_session(converted.model)
        self._names = [output.name for output in converted.outputs]

    def run(self, X: pd.DataFrame) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the labels, shape [rows], and the probabilities, shape [rows, classes]."""
        labels, probabilities = self._session.run(self._names, columns(X))
        return labels, probabilities

    def parity(self, X: pd.DataFrame) -> Parity:
        """Compare every row. Raises ParityError, showing the worst row, for a label flip or too large a difference."""
        labels, probabilities = self.run(X)
        differences = np.abs(probabilities - self._pipeline.predict_proba(X)).max(axis=1)
        flips = int((labels != self._pipeline.predict(X)).sum())
        worst = int(np.argmax(np.where(np.isnan(differences), np.inf, differences)))
        if flips or not differences[worst] <= TOLERANCE:
            raise ParityError(
                f"{flips} labels of {len(X)} differ, probabilities by up to {differences[worst]:.3g} "
                f"(at most {TOLERANCE:g} may be); "
                f"the worst row is {X.iloc[worst].to_dict()}"
            )
        return Parity(
            rows=len(X), label_flips=flips, max_abs_difference=float(f"{differences[worst]:.3g}"), tolerance=TOLERANCE
        )

    def min_batch_rows(self, X: pd.DataFrame) -> int:
        """Return the fewest rows to run at once so that a row's answer never depends on its company.

        Some kernels take another path for a lone row, and the last bit differs. Raises ParityError where no batch size
        up to 32 settles it.
        """
        _, together = self.run(X)
        least = 1
        for rows in BATCH_ROWS:
            parts = [self.run(X.iloc[start : start + rows])[1] for start in range(0, len(X) - rows + 1, rows)]
            apart = np.concatenate(parts)
            if not np.array_equal(apart, together[: len(apart)]):
                least = BATCH_ROWS[BATCH_ROWS.index(rows) + 1] if rows < BATCH_ROWS[-1] else rows + 1
        if least > 32:
            raise ParityError(f"answers depend on the batch a row stands in, up to batches of {least} rows")
        return least

    def golden(self, records: list[dict[str, Scalar | None]]) -> Golden:
        """Return the records with the answers the model gives here and now."""
        outputs = self._session.run(self._names, self._signature.from_records(records))
        answers = {name: output.tolist() for name, output in zip(self._names, outputs, strict=True)}
        return Golden(records=records, outputs=answers, tolerance=TOLERANCE)


def edge_records(features: Iterable[Feature], example: dict[str, Scalar | None]) -> list[dict[str, Scalar | None]]:
    """Return the example with, one at a time, each feature's null, categories, limits, -0.0 and smallest numbers."""
    records = [example]
    for feature in features:
        values: list[Scalar | None] = list(feature.categories or ())
        if feature.nullable:
            values.append(None)
        if feature.categories is None and feature.datatype != "BYTES":
            values += _edges(feature)
        records += [example | {feature.name: value} for value in values]
    nullable = [feature.name for feature in features if feature.nullable]
    return [
        *records,
        *(example | dict.fromkeys(names) for names in itertools.combinations(nullable, 2)),
        example | dict.fromkeys(nullable),
    ]


def edge_rows(features: Iterable[Feature], records: Iterable[dict[str, Scalar | None]]) -> pd.DataFrame:
    """Return records as the table the pipeline takes."""
    arrays = Signature(features).from_records(list(records))
    return pd.DataFrame({name: array.reshape(-1) for name, array in arrays.items()})


def _edges(feature: Feature) -> list[Scalar | None]:
    """Return a number's limits and, within them, where float32 is delicate; a count's small and large values."""
    low, high = feature.minimum, feature.maximum
    limits = [limit for limit in (low, high) if limit is not None]
    inner = [-0.0, 1e-45, 1e-38, 0.5, 1e6] if feature.is_float else [1, 2, 10, 1000]
    within = [n for n in [*limits, *inner] if (low is None or n >= low) and (high is None or n <= high)]
    return [*within] if feature.is_float else [int(n) for n in within]
