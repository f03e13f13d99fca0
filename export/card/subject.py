"""What the card speaks of: a published model, its data, and its answers on the rows held out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.data import Dataset, Split
from export.gate import answers_of
from export.reference import reference
from server.evidence import Reference
from server.manifest import Feature, Manifest
from server.model import Model


@dataclass(frozen=True, slots=True)
class Subject:
    """The card's arguments, and the model's answers on the held-out rows."""

    manifest: Manifest
    model: Model
    data: Dataset
    part: Split
    answers: NDArray[np.float64]
    """Probabilities, shape [rows, classes], or values, shape [rows]."""

    @classmethod
    def of(cls, manifest: Manifest, model: Model, data: Dataset, part: Split) -> "Subject":
        """Ask the model about the held-out rows."""
        return cls(manifest, model, data, part, answers_of(model, part.X_test))

    @property
    def truths(self) -> NDArray[Any]:
        """The held-out rows' classes or numbers."""
        return self.part.y_test

    @property
    def labels(self) -> NDArray[Any]:
        """The classes that a classifier gives the held-out rows."""
        return np.asarray(np.array(self.manifest.classes, dtype=object)[self.answers.argmax(axis=1)])

    @property
    def shown(self) -> list[int]:
        """The places of the answers that pictures follow: the positive class's, each class's, or the value's."""
        if self.manifest.positive_class is not None:
            return [self.manifest.classes.index(self.manifest.positive_class)]
        return [*range(len(self.manifest.classes))] or [0]

    @property
    def is_plain(self) -> bool:
        """Whether the model is the first candidate as it is, which every other is shown beside."""
        provenance = self.manifest.provenance
        return provenance.calibration is None and next(iter(provenance.candidates), None) == provenance.estimator

    @property
    def reference(self) -> Reference:
        """What the training rows hold; counted here where the manifest has none."""
        if self.manifest.reference is not None:
            return self.manifest.reference
        features = tuple(self.manifest.features)
        return reference(features, self.part.X_train, np.zeros(len(self.part.y_train)), "regression")

    def nulls(self, feature: Feature, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of a feature's values stand for null."""
        if not feature.nullable:
            return np.zeros(len(values), np.bool_)
        if feature.null != feature.null:  # only a NaN differs from itself
            return np.isnan(values.astype(np.float64))
        return np.asarray(values == feature.null)

    def trained(self, feature: Feature) -> NDArray[Any]:
        """Return a feature's values on the training rows, nulls left out."""
        values = self.part.X_train[feature.name].to_numpy()
        return values[~self.nulls(feature, values)]


def is_number(feature: Feature) -> bool:
    """Return whether a feature's values are told by their size, not one by one."""
    return feature.categories is None and feature.datatype not in {"BOOL", "BYTES"}
