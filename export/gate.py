"""A challenger beside the version labelled stable, on the same held-out rows: worse beyond the noise is refused.

The test is paired: each held-out row gives one difference, the challenger's loss less the champion's (minus
the logarithm of the true class's probability, or the error squared). The mean of those differences has a bootstrap
interval: percentiles 2.5 and 97.5 of the means over 2,000 samples of the rows, drawn by a fixed seed. Where all of it
lies above zero the challenger is worse beyond the noise. Pairing takes out what makes rows easy or hard for both, so
that a small data set can tell a bad model from a good one; a difference that the rows can't tell from none passes.

Both are asked as they will serve: by their ONNX models. A row is held out by what stands in it and the seed, so a
champion of the same seed and features was never fitted on a row that the challenger is scored on.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from export.data import DataError, Dataset, columns, features_of
from export.scores import losses, mean_interval, significant
from server.evidence import Comparison
from server.manifest import Feature, Manifest
from server.model import Model


class WorseError(Exception):
    """The challenger is worse than the stable version beyond the noise, or can't be compared with it."""


def answers_of(model: Model, X: pd.DataFrame) -> NDArray[np.float64]:
    """Return a model's probabilities, shape [rows, classes], or values, shape [rows]."""
    is_regression = model.manifest.kind == "regression"
    name = model.manifest.output("value" if is_regression else "probabilities").name
    answers = model.run(columns(X), [name])[name].astype(np.float64)
    return answers.reshape(-1) if is_regression else answers


def compare(challenger: Model, champion: Model, data: Dataset, held_out: NDArray[np.bool_], seed: int) -> Comparison:
    """Compare two models on the held-out rows of a data set.

    Raises WorseError where the champion can't be asked (other classes, or rows that its signature doesn't allow), and
    where one of the two answers what is no number.
    """
    before, after = champion.manifest, challenger.manifest
    if (before.kind, before.classes, before.target) != (after.kind, after.classes, after.target):
        raise WorseError(
            f"the stable version {before.version} answers {_answer(before)}, this one {_answer(after)}: they can't be "
            "compared"
        )
    try:
        table = replace(data.table, cells=data.table.cells[held_out].reset_index(drop=True))
        rows = features_of(table, before.features)
    except DataError as error:
        told = f"the stable version {before.version} can't be asked about the held-out rows: {error}"
        raise WorseError(told) from error
    truths, classes = data.y[held_out], after.classes
    difference = losses(truths, answers_of(challenger, data.X[held_out]), classes) - losses(
        truths, answers_of(champion, rows), classes
    )
    if not np.isfinite(difference).all():
        raise WorseError(f"beside the stable version {before.version}, answers are no numbers: they can't be compared")
    return Comparison(
        version=before.version,
        rows=len(truths),
        loss="log_loss" if classes else "squared_error",
        difference=significant(difference.mean()),
        interval=mean_interval(difference, seed),
    )


def is_worse(comparison: Comparison) -> bool:
    """Return whether the challenger's loss is above the champion's by more than the noise."""
    return comparison.interval[0] > 0


def may_have_seen(challenger: Manifest, champion: Manifest) -> bool:
    """Return whether the champion may have been fitted on rows that are held out now, which favours it."""
    return (challenger.provenance.seed, _drawn_by(challenger.features)) != (
        champion.provenance.seed,
        _drawn_by(champion.features),
    )


def _drawn_by(features: Sequence[Feature]) -> list[object]:
    """Return what decides, beside the cells and the seed, which rows are held out."""
    return [(each.name, each.datatype, each.null_value) for each in features]


def _answer(manifest: Manifest) -> str:
    return f"{manifest.target} ({', '.join(manifest.classes)})" if manifest.classes else manifest.target
