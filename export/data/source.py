"""Combine spec, data and seed: the inputs of a model."""

from dataclasses import dataclass

from export.data.dataset import DataError, Dataset, Split, split
from export.spec import Spec


@dataclass(frozen=True, slots=True)
class Source:
    """A spec with its data, split by a seed."""

    spec: Spec
    data: Dataset
    part: Split
    seed: int

    @classmethod
    def of(cls, spec: Spec, data: Dataset, seed: int) -> "Source":
        """Split the data. Raises DataError for too few rows or a class without rows."""
        missing = sorted({*spec.classes.values()} - {*data.y.tolist()})
        if missing:
            message = f"{data.table.path}: {spec.target}: expected rows of every class"
            raise DataError(f"{message}; there are none of {', '.join(missing)}")
        return cls(spec, data, split(data, seed), seed)
