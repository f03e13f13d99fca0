"""Tests of the gate: a model worse than the stable version on held-out rows isn't published."""

import re
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from export.console import Console
from export.data.dataset import DataError, Dataset, split
from export.data.source import Source
from export.pipeline.steps import Candidate, PublishOptions, release, unchanged
from export.registry.labels import intend, move
from export.registry.publish import Publication
from export.training.gate import WorseError, compare, is_worse, may_have_seen
from server.models import manifest as manifests
from server.models.manifest import Feature, Kind
from server.models.repository import Repository
from server.models.training_metadata import Comparison
from tests.export import factors, gated
from tests.export.gated import NAME, SEED, TRUE_SLOPE
from tests.server.support import small

KINDS: Final[tuple[Kind, ...]] = ("binary", "multiclass", "regression")
BAD: Final = -0.5
FIGURES: Final = r"\+\d+\.\d+ \(95 % interval \+\d+\.\d+ to \+\d+\.\d+\)"


def _release(root: Path, candidate: Candidate, kind: Kind = "binary", *, force: bool = False) -> Publication:
    return release(gated.source(kind), candidate, PublishOptions(root, force=force), Console())


def _refused(root: Path, candidate: Candidate, kind: Kind = "binary") -> str:
    """Return why a candidate is rejected, after checking that no file changed."""
    before = factors.files(root)
    with pytest.raises(WorseError) as refused:
        _release(root, candidate, kind)
    assert factors.files(root) == before
    assert sorted(path.name for path in (root / NAME).iterdir()) == ["1", "labels.json"]
    return str(refused.value)


def _compare(kind: Kind, challenger: float, champion: float, data: Dataset | None = None) -> Comparison:
    data = data or gated.source(kind).data
    models = [gated.loaded(kind, slope) for slope in (challenger, champion)]
    return compare(models[0], models[1], data, split(data, SEED).held_out, SEED)


@pytest.mark.parametrize("kind", KINDS)
def test_worse_is_refused(tmp_path: Path, kind: Kind) -> None:
    """A clearly worse model is rejected with figures; nothing is published, no label moves."""
    gated.champion(tmp_path, kind, TRUE_SLOPE)
    refused = _refused(tmp_path, gated.candidate(kind, BAD), kind)
    rows, loss = len(gated.source(kind).part.y_test), "squared_error" if kind == "regression" else "log_loss"
    assert re.fullmatch(
        f"worse than stable version 1 on the same {rows} held-out rows: {loss} per row {FIGURES}; "
        "--force publishes it anyway",
        refused,
    )


def test_trained_model_that_is_worse_is_refused(tmp_path: Path) -> None:
    """A worse model that was trained and verified is rejected too."""
    gated.champion(tmp_path, "binary", TRUE_SLOPE)
    assert re.search(FIGURES, _refused(tmp_path, gated.trained()))


def test_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --force a worse model is published, and its manifest says so."""
    gated.champion(tmp_path, "binary", TRUE_SLOPE)
    published = _release(tmp_path, gated.trained(), force=True)
    comparison = manifests.read(tmp_path / NAME / "2" / "manifest.json").comparison
    assert (published.version, published.stable, published.comparison) == (2, 2, comparison)
    assert comparison is not None
    assert (comparison.forced, comparison.version, comparison.loss) == (True, 1, "log_loss")
    assert 0 < comparison.interval[0] < comparison.difference < comparison.interval[1]
    assert "significantly worse; published anyway (--force)" in capsys.readouterr().out
    assert Repository.load(tmp_path).resolve().version == "2"


@pytest.mark.parametrize("force", [False, True])
def test_difference_within_the_noise_passes(tmp_path: Path, force: bool) -> None:
    """A difference within the noise passes, forced or not, and isn't recorded as forced."""
    gated.champion(tmp_path, "binary", TRUE_SLOPE)
    published = _release(tmp_path, gated.like_trained(1.01 * TRUE_SLOPE), force=force)
    assert (published.version, published.stable) == (2, 2)
    assert published.comparison is not None
    assert published.comparison.forced is False
    assert published.comparison.interval[0] <= 0 <= published.comparison.interval[1]


def test_better_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A better model becomes stable, and the figures are printed."""
    gated.champion(tmp_path, "binary", -TRUE_SLOPE)
    published = _release(tmp_path, gated.trained())
    assert (published.version, published.stable) == (2, 2)
    assert published.comparison is not None
    assert published.comparison.interval[0] < published.comparison.interval[1] < 0
    told = FIGURES.replace(r"\+", "-")
    assert re.search(f"compare: with stable version 1 on the same .*{told}\n", capsys.readouterr().out)


@pytest.mark.parametrize("kind", KINDS)
def test_judgement(kind: Kind) -> None:
    """For each kind the better model passes, the worse is rejected, and equal ones don't differ."""
    assert is_worse(_compare(kind, BAD, TRUE_SLOPE))
    better = _compare(kind, TRUE_SLOPE, BAD)
    assert not is_worse(better)
    assert better.interval[1] < 0
    near = _compare(kind, TRUE_SLOPE * 1.001, TRUE_SLOPE)
    assert not is_worse(near)
    assert near.interval[0] <= 0 <= near.interval[1]
    itself = _compare(kind, TRUE_SLOPE, TRUE_SLOPE)
    assert not is_worse(itself)
    assert (itself.difference, itself.interval) == (0.0, [0.0, 0.0])


@pytest.mark.parametrize("kind", KINDS)
def test_interval_is_the_paired_bootstraps(kind: Kind) -> None:
    """The interval is a paired bootstrap: percentiles of the rows' mean differences over 2,000 samples."""
    source = gated.source(kind)
    x = source.part.X_test[["x"]].to_numpy(np.float32)
    apart = _losses(kind, 2.0, x) - _losses(kind, TRUE_SLOPE, x)
    drawn = np.random.default_rng(SEED)
    means = [np.mean(apart[drawn.integers(0, len(apart), len(apart))]) for _ in range(2000)]
    found = _compare(kind, 2.0, TRUE_SLOPE)
    assert (found.version, found.rows) == (1, len(apart))
    assert found.difference == pytest.approx(apart.mean(), rel=1e-4, abs=1e-7)
    assert found.interval == pytest.approx(np.percentile(means, [2.5, 97.5]).tolist(), rel=1e-4, abs=1e-7)
    half = 1.96 * apart.std() / len(apart) ** 0.5
    assert (found.interval[1] - found.interval[0]) / 2 == pytest.approx(half, rel=0.15)


def test_same_seed_gives_the_same_figures() -> None:
    """The same seed gives the same figures, another seed similar ones."""
    source = gated.source("binary")
    worse, better = (gated.loaded("binary", slope) for slope in (1.0, TRUE_SLOPE))
    one, same, other = (compare(worse, better, source.data, source.part.held_out, seed) for seed in (1, 1, 2))
    assert one == same
    assert (one.difference, one.interval) != (other.difference, other.interval)
    assert one.difference == other.difference
    assert one.interval == pytest.approx(other.interval, rel=0.2)


def test_unit_of_the_target_does_not_matter() -> None:
    """The unit of a regression's target doesn't change the decision."""
    unit = 2.0**-20
    data = gated.data("regression", unit=unit)
    small_unit = _compare("regression", BAD * unit, TRUE_SLOPE * unit, data)
    assert is_worse(small_unit)
    assert small_unit.difference / unit**2 == pytest.approx(
        _compare("regression", BAD, TRUE_SLOPE).difference, rel=1e-3
    )
    assert not is_worse(_compare("regression", TRUE_SLOPE * unit, BAD * unit, data))


def test_only_held_out_rows_count() -> None:
    """Only held-out rows are compared."""
    data = gated.source("binary").data
    held_out = split(data, SEED).held_out
    turned = np.where(held_out, data.y, np.where(data.y == "yes", "no", "yes").astype(object))
    other = Dataset(data.table, data.X, turned)
    assert _compare("binary", 1.0, TRUE_SLOPE, other) == _compare("binary", 1.0, TRUE_SLOPE)
    assert _compare("binary", 1.0, TRUE_SLOPE).rows == held_out.sum()


def test_champion_never_saw_a_held_out_row_though_the_data_grew() -> None:
    """Held-out rows stay held out when the data grow, so no stable version was trained on them."""
    before, after = gated.data("binary"), gated.data("binary", 2 * gated.ROWS)
    champion, challenger = split(before, SEED), split(after, SEED)
    assert challenger.held_out[: gated.ROWS].tolist() == champion.held_out.tolist()
    trained_on, asked = set(champion.X_train["x"]), set(challenger.X_test["x"])
    assert len(asked & set(champion.X_test["x"])) == len(champion.X_test)
    assert len(asked) > 1.5 * len(champion.X_test)
    assert not trained_on & asked


def test_other_classes_can_not_be_compared(tmp_path: Path) -> None:
    """A stable version with other classes can't be compared: the model is rejected unless forced."""
    gated.champion(tmp_path, "binary", 1.0, classes=["off", "on"], positive_class="on")
    refused = _refused(tmp_path, gated.trained())
    assert refused == (
        "the stable version 1 predicts answer (off, on), this one answer (no, yes): they can't be compared"
    )
    published = _release(tmp_path, gated.trained(), force=True)
    assert published.version == published.stable == 2
    comparison = manifests.read(published.path / "manifest.json").comparison
    assert comparison is not None
    assert (comparison.forced, comparison.rows, comparison.version) == (True, 0, 1)
    assert Repository.load(tmp_path).resolve().version == "2"


@pytest.mark.parametrize("members", [{"target": "another"}, {"classes": ["yes", "no"]}])
def test_other_answers_can_not_be_compared(tmp_path: Path, members: dict[str, Any]) -> None:
    """A stable version with another target or order of classes can't be compared."""
    gated.champion(tmp_path, "binary", 1.0, **members)
    assert "they can't be compared" in _refused(tmp_path, gated.trained())


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        (msgspec.structs.replace(small.X, maximum=1.0), "x: row [1-9][0-9]*: expected a number of at most 1; got "),
        (msgspec.structs.replace(small.X, name="z"), 'expected a column "z"; got "x", "answer"'),
    ],
    ids=["range", "column"],
)
def test_rows_that_the_stable_version_does_not_take(tmp_path: Path, feature: Feature, words: str) -> None:
    """A stable version whose signature doesn't allow the rows can't be compared."""
    gated.champion(tmp_path, "binary", 1.0, feature=feature)
    refused = _refused(tmp_path, gated.trained())
    assert re.search(f"^the stable version 1 does not accept the held-out rows: .*{words}", refused)


def test_answers_that_are_no_numbers_can_not_be_compared() -> None:
    """A difference that isn't a number counts as not comparable."""
    source = gated.source("regression")
    whole, endless = gated.loaded("regression", 1.0), gated.loaded("regression", 3e38)
    for models in ((whole, endless), (endless, whole)):
        with pytest.raises(WorseError, match="stable version 1 are not finite: they can't be compared"):
            compare(*models, source.data, source.part.held_out, SEED)


def test_broken_stable_version_blocks_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken stable version is reported and replaced without a comparison."""
    gated.champion(tmp_path, "binary", TRUE_SLOPE)
    factors.damage(tmp_path / NAME, 1)
    published = _release(tmp_path, gated.trained())
    assert (published.version, published.stable, published.comparison) == (2, 2, None)
    assert "SHA-256" in published.load_error
    assert "compare: not compared, because the stable version can't be loaded: " in capsys.readouterr().out
    assert manifests.read(published.path / "manifest.json").comparison is None


def test_stable_version_is_the_one_compared_with(tmp_path: Path) -> None:
    """The comparison is with the version labelled stable, not with the newest."""
    gated.champion(tmp_path, "binary", BAD)
    made = gated.candidate("binary", TRUE_SLOPE, version=2)
    small.write(tmp_path, made.model, made.manifest)
    assert _release(tmp_path, gated.trained()).comparison is not None
    move(tmp_path, NAME, "stable", 2)
    with pytest.raises(WorseError, match="worse than stable version 2 on"):
        _release(tmp_path, gated.candidate("binary", BAD))


def test_nothing_stable_nothing_to_compare(tmp_path: Path) -> None:
    """Without a stable version there is no comparison."""
    gated.champion(tmp_path, "binary", TRUE_SLOPE)
    (tmp_path / NAME / "labels.json").write_text('{"canary": 1}')
    published = _release(tmp_path, gated.trained())
    assert (published.version, published.stable, published.comparison, published.load_error) == (2, 2, None, "")


def test_stopped_publication_is_something_to_do(tmp_path: Path) -> None:
    """A recipe whose publication stopped before its label moved is resumed, unless the label moved since."""
    source, publish_options, home = gated.source("binary"), PublishOptions(tmp_path), tmp_path / NAME
    gated.champion(tmp_path, "binary", -TRUE_SLOPE)
    assert not unchanged(source, publish_options, Console())
    release(source, gated.trained(), PublishOptions(tmp_path, promote=False), Console())
    assert unchanged(source, publish_options, Console())
    intend(home, 2)  # the state after a kill between the two steps
    assert not unchanged(source, publish_options, Console())
    assert unchanged(source, PublishOptions(tmp_path, promote=False), Console())
    assert _release(tmp_path, gated.trained()).stable == 2
    assert unchanged(source, publish_options, Console())
    move(tmp_path, NAME, "stable", 1)
    assert unchanged(source, publish_options, Console())
    assert _release(tmp_path, gated.trained()).stable == 1


def test_champion_that_may_have_seen_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If seed or features differ, the held-out rows do too, and the run warns about it."""
    manifest = gated.candidate("binary", 1.0).manifest
    seeded = msgspec.structs.replace(manifest, provenance=msgspec.structs.replace(manifest.provenance, seed=SEED))
    x = manifest.features[0]
    nullable = msgspec.structs.replace(x, nullable=True, null_value=-1.0)
    told = msgspec.structs.replace(x, description="Told otherwise.", maximum=9.0, field_number=4)
    assert may_have_seen(manifest, seeded)
    for feature, may in ((msgspec.structs.replace(x, name="z"), True), (nullable, True), (told, False)):
        assert may_have_seen(manifest, msgspec.structs.replace(manifest, features=[feature])) is may
    assert may_have_seen(manifest, msgspec.structs.replace(manifest, features=[x, small.INDEX]))
    gated.champion(tmp_path, "binary", -TRUE_SLOPE)
    _release(tmp_path, gated.trained())
    assert (
        "stable was split with another seed or other features, and may have seen these rows" in capsys.readouterr().out
    )


def test_too_few_rows_to_be_compared_on() -> None:
    """Data with too few rows to hold some out are rejected."""
    with pytest.raises(DataError, match="too few"):
        Source.of(gated.spec("regression"), gated.data("regression", 3), SEED)


def _losses(kind: Kind, slope: float, x: NDArray[Any]) -> NDArray[np.float64]:
    """Return each held-out row's loss, by onnxruntime and numpy alone."""
    model = gated.candidate(kind, slope).model
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    answers = session.run(None, {"x": x})[-1].astype(np.float64)
    truths = gated.source(kind).part.y_test
    if kind == "regression":
        return np.asarray((answers[:, 0] - truths.astype(np.float64)) ** 2)
    classes = sorted(gated.CLASSES[kind].values())
    return np.array([-np.log(row[classes.index(truth)]) for row, truth in zip(answers, truths, strict=True)])
