"""Histograms: counts of served values in the bins of a manifest's reference distribution."""

from collections import Counter
from collections.abc import Collection, Hashable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.models.manifest import Manifest, Scalar
from server.models.signature import Column
from server.models.training_metadata import Distribution

Counts = NDArray[np.int64]
"""Number of values in each bin."""


class Bins:
    """The reference's bins in order, then a bin for other categories and one for null.

    The last two exist only if such values are possible.
    """

    def __init__(self, reference: Distribution, *, is_closed: bool, null: Scalar | None = None) -> None:
        """Create the bins of `reference`.

        With `is_closed` no other category is possible. `null` is the model's value for null, if null is allowed.
        """
        self.reference: Final = reference
        self._edges = None if reference.edges is None else np.array(reference.edges, np.float64)
        self._null = null
        counts = [*reference.counts]
        self.other: int | None = None
        """Index of the bin for other categories."""
        if reference.categories is not None and (reference.other or not is_closed):
            self.other = len(counts)
            counts.append(reference.other)
        self.nulls: int | None = None
        """Index of the bin for nulls."""
        if null is not None or reference.nulls:
            self.nulls = len(counts)
            counts.append(reference.nulls)
        self.expected: Counts = np.array(counts, np.int64)
        """Number of the reference's rows in each bin."""
        self._bin_indices: dict[Hashable, int] = {name: index for index, name in enumerate(reference.categories or ())}
        if null is not None and self.nulls is not None:
            self._bin_indices[null] = self.nulls

    @classmethod
    def of_column(cls, reference: Distribution, column: Column) -> "Bins":
        """Return the bins of a feature."""
        allowed = {False, True} if column.feature.datatype == "BOOL" else column.allowed
        is_closed = allowed is not None and allowed <= set(reference.categories or ())
        return cls(reference, is_closed=is_closed, null=column.feature.null if column.feature.nullable else None)

    @classmethod
    def of_output(cls, reference: Distribution, classes: Collection[str]) -> "Bins":
        """Return the bins of a model's output; `classes` are all its possible labels."""
        return cls(reference, is_closed=set(classes) <= set(map(str, reference.categories or ())))

    def count(self, values: NDArray[Any]) -> Counts:
        """Return the number of `values`, shape [rows], in each bin."""
        if self._edges is None:
            return self._count_categories(values)
        numbers = values.astype(np.float64)
        bin_indices = np.searchsorted(self._edges, numbers, side="left")
        if self.nulls is not None and self._null is not None:
            # A numeric null value reached the model as that number; a NaN is equal to nothing.
            bin_indices[np.isnan(numbers) if self._null != self._null else numbers == self._null] = self.nulls
        return np.bincount(bin_indices, minlength=len(self.expected))

    def _count_categories(self, values: NDArray[Any]) -> Counts:
        counts = np.zeros(len(self.expected), np.int64)
        for value, number in Counter(values.tolist()).items():
            bin_index = self._bin_indices.get(value, self.other)
            if bin_index is None:  # a NaN, which is null: no dictionary lookup finds it
                bin_index = self.nulls
            if bin_index is not None:
                counts[bin_index] += number
        return counts


def reference_output(manifest: Manifest) -> tuple[int, int]:
    """Return the output, and its column, that the reference's `answer` describes."""
    if manifest.kind == "binary":
        index = manifest.outputs.index(manifest.output("probabilities"))
        return index, manifest.classes.index(str(manifest.positive_class))
    return manifest.outputs.index(manifest.output("value" if manifest.kind == "regression" else "label")), 0
