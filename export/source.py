"""What a model is made from: spec, data, and the seed that splits them and decides every draw."""

from dataclasses import dataclass

from export.data import Dataset, Split, split
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
        """Split the data. Raises DataError where too few rows are left."""
        return cls(spec, data, split(data, seed), seed)
