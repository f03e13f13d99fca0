"""Tests of reference statistics: histograms, shares and a sample of training rows."""

from itertools import pairwise

import numpy as np
import pandas as pd

from export.cli.arguments import SEED
from export.data.dataset import Split
from export.data.reference import BINS, MAX_CATEGORIES, background, reference
from export.titanic import TITANIC
from server.models import manifest as manifests
from server.models.manifest import MAX_BACKGROUND_ROWS, Feature
from server.models.signature import Signature
from tests.server.support.rpc import MODELS

WORD = Feature(name="word", datatype="BYTES", description="", example="a")
FLAG = Feature(name="flag", datatype="BOOL", description="", example=True)
COUNT = Feature(name="count", datatype="INT64", nullable=True, null_value=-1, minimum=-1.0, description="", example=1)


def test_every_training_row_is_counted(part: Split) -> None:
    """The committed reference counts each training row once in every column, with nulls apart."""
    manifest = manifests.read(MODELS / "titanic" / "1" / "manifest.json")
    assert manifest.reference is not None
    assert manifest.reference.rows == len(part.X_train)
    for name, told in manifest.reference.features.items():
        assert sum(told.counts) + told.other + told.nulls == len(part.X_train), name
    assert manifest.reference.features["age"].nulls == int(part.X_train["age"].isna().sum())
    sexes = manifest.reference.features["sex"]
    assert sexes.categories is not None
    assert dict(zip(sexes.categories, sexes.counts, strict=True)) == part.X_train["sex"].value_counts().to_dict()


def test_bins_hold_what_their_edges_say(part: Split) -> None:
    """A bin counts the values above the previous edge and up to its own."""
    told = reference(TITANIC.features, part.X_train, np.linspace(0, 1, len(part.X_train)), "binary")
    fare = told.features["fare"]
    assert fare.edges is not None
    assert len(fare.counts) == len(fare.edges) + 1 <= BINS
    values = part.X_train["fare"].dropna().to_numpy(np.float64)
    ends = [-np.inf, *fare.edges, np.inf]
    counts = [int(((values > low) & (values <= high)).sum()) for low, high in pairwise(ends)]
    assert fare.counts == counts
    assert told.answer.edges is not None
    assert len(told.answer.edges) == BINS - 1


def test_other_columns() -> None:
    """Strings are counted by value up to a limit, booleans as two values, nulls apart."""
    words = [f"w{number:03}" for number in range(MAX_CATEGORIES + 20)]
    X = pd.DataFrame(
        {
            "word": np.array([*words, *words[:MAX_CATEGORIES]], dtype=object),
            "flag": [True] * 100 + [False] * (len(words) + MAX_CATEGORIES - 100),
            "count": [-1, 5] * ((len(words) + MAX_CATEGORIES) // 2),
        }
    )
    told = reference((WORD, FLAG, COUNT), X, np.array(["a", "b"] * (len(X) // 2), dtype=object), "multiclass")
    assert told.features["word"].categories == words[:MAX_CATEGORIES]
    assert told.features["word"].other == 20
    assert (told.features["flag"].categories, told.features["flag"].counts) == ([False, True], [len(X) - 100, 100])
    assert (told.features["count"].edges, told.features["count"].counts) == ([], [len(X) // 2])
    assert told.features["count"].nulls == len(X) // 2
    assert (told.answer.categories, told.answer.counts) == (["a", "b"], [len(X) // 2] * 2)


def test_background_is_a_sample_that_a_caller_may_send(part: Split) -> None:
    """The background has at most 32 training rows as valid records, the same for a seed."""
    rows = background(TITANIC.features, part.X_train, SEED)
    assert len(rows) == MAX_BACKGROUND_ROWS
    signature = Signature(TITANIC.features)
    signature.check(signature.from_records(rows))
    assert rows == background(TITANIC.features, part.X_train, SEED) != background(TITANIC.features, part.X_train, 1)
    ages = set(part.X_train["age"].dropna().tolist())
    assert {row["age"] for row in rows} - {None} <= ages
    assert None in {row["age"] for row in rows}
    few = background(TITANIC.features, part.X_train.iloc[:5], SEED)
    assert len(few) == 5
    assert manifests.read(MODELS / "titanic" / "1" / "manifest.json").background == rows
