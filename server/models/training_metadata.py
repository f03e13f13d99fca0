"""Training metadata in a manifest: scores, provenance and distributions of the training rows."""

from itertools import pairwise

import msgspec

Scores = dict[str, float]
"""Score name to value.

- Classifiers: accuracy, roc_auc, log_loss, brier. With several classes, roc_auc is one class against the rest with
  equal weights, brier is summed over the classes.
- Regression: rmse, mae, r2.
"""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Mean and standard deviation of the same scores over several splits."""

    mean: Scores
    deviation: Scores


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of the published model, beside a plain linear model on the same split."""

    held_out_rows: int
    held_out: Scores
    intervals: dict[str, list[float]]
    """Score to its interval, low and high, on the held-out rows.

    The ends are the bootstrap percentiles 2.5 and 97.5.
    """
    baseline: Scores
    seeds: int
    """Number of splits behind the two spreads."""
    over_seeds: Spread
    baseline_over_seeds: Spread


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison with the version labelled stable at publication, on the same held-out rows."""

    version: int
    """The version that was stable."""
    rows: int
    loss: str
    """The compared loss per row: log_loss or squared_error."""
    difference: float
    """Mean of the new model's loss minus the old one's; negative: the new is better."""
    interval: list[float]
    """Interval of the difference, low and high: paired bootstrap, percentiles 2.5 and 97.5."""
    forced: bool = False
    """Whether the version was published although it was significantly worse than the stable one."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """Loss of one candidate pipeline over the folds of repeated cross-validation; lower is better."""

    mean: float
    deviation: float


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Origin of the model, with all information to reproduce it."""

    dataset: str
    dataset_sha256: str
    dataset_rows: int
    seed: int
    held_out_share: float
    estimator: str
    candidates: dict[str, Candidate]
    """Each compared candidate pipeline, on the training rows only."""
    ir_version: int
    opsets: dict[str, int]
    versions: dict[str, str]
    """Library name to version, including Python."""
    loss: str = "log_loss"
    """Loss for the comparison of candidates: log_loss, or rmse for regression."""
    calibration: str | None = None
    """Method that calibrates the chosen candidate's probabilities; None if it did not help."""
    cpu: str = ""
    """CPU type of the training machine: another type may round differently."""
    recipe: str = ""
    """Digest of all inputs of the training: data, spec, seed, libraries, CPU.

    The same recipe gives the same bytes.
    """


class Distribution(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Counts of one column's values in bins, by edges for numbers or by categories."""

    counts: list[int]
    """Rows in each bin; `edges` have one bin more than there are edges."""
    edges: list[float] | None = None
    """Bin i holds edges[i-1] < value <= edges[i]; the outer bins have no outer limit."""
    categories: list[str | int | bool] | None = None
    other: int = 0
    """Rows with a value outside the categories."""
    nulls: int = 0
    """Rows without a value."""

    def problem(self) -> str:
        """Return the error of an invalid distribution, else ""."""
        if (self.edges is None) == (self.categories is None):
            return "expected either edges or categories"
        edges, bins = self.edges or [], len(self.categories or []) if self.edges is None else len(self.edges) + 1
        if len(self.counts) != bins:
            return f"expected {bins} counts, got {len(self.counts)}"
        if any(low >= high for low, high in pairwise(edges)):
            return "expected ascending edges"
        return "a count is below 0" if min(*self.counts, self.other, self.nulls) < 0 else ""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Distributions of the training rows, the reference for drift detection."""

    rows: int
    features: dict[str, Distribution]
    answer: Distribution
    """Distribution of the model's output on the training rows.

    It is of the positive class's probability, of the label (several classes) or of the value (regression).
    """
