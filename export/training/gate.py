"""Compare a new version with the stable one on held-out rows; reject a worse one.

The challenger is the new version; the champion is the version labelled stable. The test is paired:

- Each held-out row gives one difference: the loss of the challenger minus the loss of the champion.
- The loss is the negative logarithm of the true class's probability, or the squared error.
- The mean difference has a bootstrap interval: percentiles 2.5 and 97.5 of the means over 2,000 samples of the rows,
  drawn with a fixed seed.
- If the whole interval is above zero, the challenger is significantly worse.

Pairing removes the difficulty of the rows, which is the same for both models. A small data set can then show that a
model is worse. A difference that is not significant passes.

Both models predict with their ONNX models, as the server does. The values of a row and the seed determine whether the
row is held out. A champion with the same seed and features was therefore never fitted on a row that scores the
challenger.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from export.data.dataset import DataError, Dataset, columns, features_of
from export.training.metrics import losses, mean_interval, significant
from server.models.manifest import Feature, Manifest
from server.models.session import Model
from server.models.training_metadata import Comparison


class WorseError(Exception):
    """Error for a challenger that is significantly worse than the stable version, or not comparable."""


def predict(model: Model, X: pd.DataFrame) -> NDArray[np.float64]:
    """Return the predicted probabilities, shape [rows, classes], or values, shape [rows]."""
    is_regression = model.manifest.kind == "regression"
    name = model.manifest.output("value" if is_regression else "probabilities").name
    predictions = model.run(columns(X), [name])[name].astype(np.float64)
    return predictions.reshape(-1) if is_regression else predictions


def compare(challenger: Model, champion: Model, data: Dataset, held_out: NDArray[np.bool_], seed: int) -> Comparison:
    """Compare two models on the held-out rows of a data set.

    Raises WorseError if the champion can't predict for these rows: it has another target, other classes, or a signature
    that doesn't allow a row. Raises WorseError also if a prediction of either model is not finite.
    """
    before, after = champion.manifest, challenger.manifest
    if (before.kind, before.classes, before.target) != (after.kind, after.classes, after.target):
        raise WorseError(
            f"the stable version {before.version} predicts {_target_text(before)}, this one {_target_text(after)}: "
            "they can't be compared"
        )
    try:
        table = replace(data.table, cells=data.table.cells[held_out])
        rows = features_of(table, before.features)
    except DataError as error:
        message = f"the stable version {before.version} does not accept the held-out rows: {error}"
        raise WorseError(message) from error
    true_values, classes = data.y[held_out], after.classes
    difference = losses(true_values, predict(challenger, data.X[held_out]), classes) - losses(
        true_values, predict(champion, rows), classes
    )
    if not np.isfinite(difference).all():
        raise WorseError(
            f"predictions of this or the stable version {before.version} are not finite: they can't be compared"
        )
    return Comparison(
        version=before.version,
        rows=len(true_values),
        loss="log_loss" if classes else "squared_error",
        difference=significant(difference.mean()),
        interval=mean_interval(difference, seed),
    )


def is_worse(comparison: Comparison) -> bool:
    """Return whether the challenger's loss is significantly higher than the champion's."""
    return comparison.interval[0] > 0


def may_have_seen(challenger: Manifest, champion: Manifest) -> bool:
    """Return whether the champion may have been fitted on rows that are held out now.

    Such rows favour the champion.
    """
    return (challenger.provenance.seed, _split_inputs(challenger.features)) != (
        champion.provenance.seed,
        _split_inputs(champion.features),
    )


def _split_inputs(features: Sequence[Feature]) -> list[object]:
    """Return the feature members that determine, with the cells and the seed, the held-out rows."""
    return [(each.name, each.datatype, each.null_value) for each in features]


def _target_text(manifest: Manifest) -> str:
    return f"{manifest.target} ({', '.join(manifest.classes)})" if manifest.classes else manifest.target
