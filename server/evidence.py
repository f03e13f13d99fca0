"""What an export found out about a model, as its manifest tells it: scores, provenance, what the training rows hold."""

from itertools import pairwise

import msgspec

Scores = dict[str, float]
"""Name of a score to its value. Classifiers: accuracy, roc_auc, log_loss, brier (several classes: one against the rest,
each class of the same weight; brier summed over the classes). Regression: rmse, mae, r2."""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """The same scores over several splits: their mean and standard deviation."""

    mean: Scores
    deviation: Scores


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """How good the published model is, beside a plain linear model on the same split."""

    held_out_rows: int
    held_out: Scores
    intervals: dict[str, list[float]]
    """Score to the ends, low and high, of its interval on the held-out rows: bootstrap percentiles 2.5 and 97.5."""
    baseline: Scores
    seeds: int
    """Number of splits behind the two spreads."""
    over_seeds: Spread
    baseline_over_seeds: Spread


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A model beside the one labelled stable when it was published, on the same held-out rows."""

    version: int
    """The version that was stable."""
    rows: int
    loss: str
    """What is compared: log_loss or squared_error, a row."""
    difference: float
    """Mean of the new model's loss less the old one's: below 0 the new one is better."""
    interval: list[float]
    """Ends, low and high, of the difference's interval: paired bootstrap, percentiles 2.5 and 97.5."""
    forced: bool = False
    """Whether it was published though it was worse beyond the noise."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """The loss of one candidate pipeline in repeated cross-validation, over the folds; lower is better."""

    mean: float
    deviation: float


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model comes from: enough to make it again."""

    dataset: str
    dataset_sha256: str
    dataset_rows: int
    seed: int
    held_out_share: float
    estimator: str
    candidates: dict[str, Candidate]
    """Each candidate pipeline that was compared, on the training rows alone."""
    ir_version: int
    opsets: dict[str, int]
    versions: dict[str, str]
    """Library name to version, Python's own among them."""
    loss: str = "log_loss"
    """What the candidates were compared by: log_loss, or rmse for regression."""
    calibration: str | None = None
    """How the chosen candidate's probabilities are calibrated, where that helped."""
    cpu: str = ""
    """The kind of CPU that the model was fitted on: another may round otherwise."""
    recipe: str = ""
    """Digest of all that decides the model: data, spec, seed, libraries, CPU. The same recipe gives the same bytes."""


class Distribution(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How often the values of one column stand in each bin: of a number's edges, or of the categories."""

    counts: list[int]
    """Rows in each bin; of `edges` one bin more than there are edges."""
    edges: list[float] | None = None
    """Bin i holds edges[i-1] < value <= edges[i]; the first has no lower end, the last no upper one."""
    categories: list[str | int | bool] | None = None
    other: int = 0
    """Rows whose value is none of the categories."""
    nulls: int = 0
    """Rows without a value."""

    def problem(self) -> str:
        """Return what makes it no distribution; nothing where it is one."""
        if (self.edges is None) == (self.categories is None):
            return "expected either edges or categories"
        edges, bins = self.edges or [], len(self.categories or []) if self.edges is None else len(self.edges) + 1
        if len(self.counts) != bins:
            return f"expected {bins} counts, got {len(self.counts)}"
        if any(low >= high for low, high in pairwise(edges)):
            return "expected edges that rise"
        return "a count is below 0" if min(*self.counts, self.other, self.nulls) < 0 else ""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows that the model was fitted on hold: what later rows are compared with, to see them drift."""

    rows: int
    features: dict[str, Distribution]
    answer: Distribution
    """Of the positive class's probability, the label (several classes) or the value (regression) on those rows."""
