"""What a model is made from: spec, data, and the seed that splits them and decides every draw."""

from dataclasses import dataclass

from export.data import DataError, Dataset, Split, split
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
        """Split the data. Raises DataError where too few rows are left, or a class of the spec has none."""
        missing = sorted({*spec.classes.values()} - {*data.y.tolist()})
        if missing:
            told = f"{data.table.path}: {spec.target}: expected rows of every class"
            raise DataError(f"{told}; there is none of {', '.join(missing)}")
        return cls(spec, data, split(data, seed), seed)
