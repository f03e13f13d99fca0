"""Data of a model card: a published model, its data, its predictions on held-out rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.data.dataset import Dataset, Split
from export.data.reference import reference
from export.training.gate import predict
from server.models.manifest import Feature, Manifest
from server.models.session import Model
from server.models.training_metadata import Reference


@dataclass(frozen=True, slots=True)
class Subject:
    """Arguments of the card, and the predictions for the held-out rows."""

    manifest: Manifest
    model: Model
    data: Dataset
    part: Split
    predictions: NDArray[np.float64]
    """Probabilities, shape [rows, classes], or values, shape [rows]."""

    @classmethod
    def of(cls, manifest: Manifest, model: Model, data: Dataset, part: Split) -> "Subject":
        """Create the subject; run the model on the held-out rows."""
        return cls(manifest, model, data, part, predict(model, part.X_test))

    @property
    def true_values(self) -> NDArray[Any]:
        """True classes or numbers of the held-out rows, shape [rows]."""
        return self.part.y_test

    @property
    def labels(self) -> NDArray[Any]:
        """Predicted classes of the held-out rows, shape [rows]; classifiers only."""
        return np.asarray(np.array(self.manifest.classes, dtype=object)[self.predictions.argmax(axis=1)])

    @property
    def plotted_columns(self) -> list[int]:
        """Columns of the predictions to plot: the positive class, each class, or the value."""
        if self.manifest.positive_class is not None:
            return [self.manifest.classes.index(self.manifest.positive_class)]
        return [*range(len(self.manifest.classes))] or [0]

    @property
    def is_plain(self) -> bool:
        """Whether the model is the uncalibrated first candidate, which is the baseline of the card."""
        provenance = self.manifest.provenance
        return provenance.calibration is None and next(iter(provenance.candidates), None) == provenance.estimator

    @property
    def reference(self) -> Reference:
        """Distributions of the training rows, computed here if the manifest has none."""
        if self.manifest.reference is not None:
            return self.manifest.reference
        features = tuple(self.manifest.features)
        return reference(features, self.part.X_train, np.zeros(len(self.part.y_train)), "regression")

    def nulls(self, feature: Feature, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return True for each value of a feature that represents null, shape [rows]."""
        if not feature.nullable:
            return np.zeros(len(values), np.bool_)
        if feature.null != feature.null:  # only NaN is not equal to itself
            return np.isnan(values.astype(np.float64))
        return np.asarray(values == feature.null)

    def training_values(self, feature: Feature) -> NDArray[Any]:
        """Return the values of a feature in the training rows, without nulls."""
        values = self.part.X_train[feature.name].to_numpy()
        return values[~self.nulls(feature, values)]


def is_number(feature: Feature) -> bool:
    """Return whether a feature is numeric, without categories."""
    return feature.categories is None and feature.datatype not in {"BOOL", "BYTES"}
