"""Steps of a run: fit a model, verify a candidate, publish a version."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec.structs import replace as with_members

from export.card import card
from export.console import Console
from export.conversion.convert import ConvertError, convert
from export.conversion.diagnosis import ignored_categories
from export.conversion.threshold_rows import BASES, threshold_rows
from export.conversion.verify import Verifier, edge_records, edge_rows
from export.data.dataset import row_numbers
from export.data.source import Source
from export.pipeline.fingerprint import recipe
from export.pipeline.manifest_builder import Evidence, manifest
from export.registry.labels import is_intended, versions
from export.registry.publish import Publication, PublicationOptions, find_recipe, publish
from export.training.gate import WorseError, compare, is_worse, may_have_seen
from export.training.train import Fitted, fit, loss_of, measure
from server.models.manifest import Manifest
from server.models.repository import LABELS_FILE, STABLE, read_labels
from server.models.session import Model
from server.models.training_metadata import Comparison, Metrics, Scores
from server.models.version_directory import CARD_FILE


@dataclass(frozen=True, slots=True)
class Trained:
    """Result of the training step."""

    fitted: Fitted
    metrics: Metrics
    recipe: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model verified against scikit-learn, with its manifest; the publication sets the version number."""

    model: bytes
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """Options for the publication of a candidate."""

    models: Path
    promote: bool = True
    force: bool = False


def train(source: Source, console: Console) -> Trained:
    """Compare the candidates, fit the best and score it. Raises DataError for too few rows."""
    spec, rows = source.spec, len(source.data.y)
    console.print_line(
        f"data: {source.data.table.name}, {rows} rows, {len(source.part.y_test)} of them held out (seed {source.seed})"
    )
    console.print_line(f"train: candidates, the smallest {loss_of(spec)} wins")
    fitted = fit(source, console)
    estimator = fitted.estimator + (f", calibrated by {fitted.calibration}" if fitted.calibration else "")
    console.print_line(f"  chosen: {estimator}")
    metrics = measure(source, fitted, console)
    _print_scores(console, "held-out rows", metrics.held_out, intervals=metrics.intervals)
    _print_scores(console, f"over {metrics.seeds} other splits", metrics.over_seeds.mean, metrics.over_seeds.deviation)
    _print_scores(console, "baseline model, held-out rows", metrics.baseline)
    spread = metrics.baseline_over_seeds
    _print_scores(console, f"baseline model, over {metrics.seeds} other splits", spread.mean, spread.deviation)
    console.add_result(estimator=estimator, candidates=fitted.candidates, metrics=metrics)
    return Trained(fitted, metrics, recipe(source))


def verify(source: Source, trained: Trained, console: Console) -> Candidate:
    """Convert the pipeline to ONNX and compare the predictions of both.

    Raises ConvertError if the pipeline can't be converted, ParityError if the predictions differ.
    """
    spec, pipeline = source.spec, trained.fitted.pipeline
    try:
        converted = convert(pipeline, spec.features, len(spec.classes))
    except ConvertError as error:
        if (cause := ignored_categories(pipeline)) is None:
            raise
        raise ConvertError(f"{error}\nlikely cause: {cause}") from error
    console.print_line(f"convert: {len(converted.model)} bytes, IR {converted.ir_version}, opsets {converted.opsets}")
    deviation = 1.0 if spec.classes else float(source.part.y_train.std())
    verifier = Verifier(pipeline, converted, spec.features, deviation)
    edges = edge_records(spec.features, {f.name: f.example for f in spec.features})
    data = pd.concat([source.data.X, edge_rows(spec.features, edges)], ignore_index=True)
    near_thresholds = threshold_rows(converted.model, pipeline, spec.features, _bases(source))
    parity = verifier.parity(pd.concat([data, near_thresholds], ignore_index=True), len(edges), len(near_thresholds))
    noun = "values" if spec.kind == "regression" else "probabilities"
    parts = f"{len(source.data.y)} of data, {len(edges)} edge cases, {len(near_thresholds)} around splits"
    console.print_line(
        f"verify: {parity.rows} rows ({parts}), "
        f"{parity.label_flips} labels differ, {noun} by at most {parity.max_abs_difference:g}"
    )
    console.add_result(parity=parity)
    evidence = Evidence(
        source,
        trained.fitted,
        trained.metrics,
        converted,
        parity,
        verifier.golden(edges),
        verifier.min_batch_rows(data),
    )
    return Candidate(converted.model, manifest(0, evidence))


def release(source: Source, candidate: Candidate, publish_options: PublishOptions, console: Console) -> Publication:
    """Publish a candidate.

    Raises WorseError if the stable version is better, ModelError if the server would not load the candidate.
    """
    name = candidate.manifest.name

    def judge(challenger: Model, champion: Model) -> Comparison:
        return _judge(source, challenger, champion, console, force=publish_options.force)

    def files(final_manifest: Manifest, model: Model) -> Mapping[str, bytes]:
        return {CARD_FILE: card(final_manifest, model, source.data, source.part)}

    published = publish(
        publish_options.models,
        name,
        candidate.model,
        lambda version: with_members(candidate.manifest, version=version),
        PublicationOptions(judge, files, promote=publish_options.promote),
    )
    print_publication(published, name, publish_options, console)
    return published


def unchanged(source: Source, publish_options: PublishOptions, console: Console) -> bool:
    """Return whether a complete version with this recipe already exists, so no step must run."""
    model_folder = publish_options.models / source.spec.name
    version = find_recipe(model_folder, recipe(source))
    if version is None:
        return False
    labels = read_labels(model_folder / LABELS_FILE)
    is_unfinished = STABLE not in labels or is_intended(model_folder, version)
    if version == max(versions(model_folder)) and is_unfinished and publish_options.promote:
        return False  # this publication was interrupted before its last step
    published = Publication(model_folder / str(version), version, new=False, api_version=0, stable=labels.get(STABLE))
    print_publication(published, source.spec.name, publish_options, console)
    return True


def print_publication(published: Publication, name: str, publish_options: PublishOptions, console: Console) -> None:
    """Print what was published, and the next command."""
    console.add_result(model=name, version=published.version, new=published.new, stable=published.stable)
    console.add_result(path=str(published.path), comparison=published.comparison, incompatible=published.incompatible)
    if published.load_error:
        console.print_line(f"compare: not compared, because the stable version can't be loaded: {published.load_error}")
    if published.new:
        console.print_line(f"publish: {published.path} published")
    else:
        console.print_line(f"publish: nothing new: {published.path} is the same model")
    if published.incompatible:
        console.print_line(
            f"api: version {published.api_version} of the typed RPC API: {'; '.join(published.incompatible)}"
        )
    if published.stable not in {None, published.version}:
        console.print_line(f"stable: still version {published.stable}")
        console.print_line(
            f"next: python -m export label {name} stable {published.version}{_models_option(publish_options)}"
        )
        return
    serve = (
        "make run, or make image"
        if publish_options.models == Path("models")
        else f"LIFEBOAT_MODELS={publish_options.models} python -m server"
    )
    if published.new and published.version > 1:
        console.print_line(f"next: python -m export diff {name}{_models_option(publish_options)}, then {serve}")
    else:
        console.print_line(f"next: {serve}")


def _models_option(publish_options: PublishOptions) -> str:
    return "" if publish_options.models == Path("models") else f" --models {publish_options.models}"


def _judge(source: Source, challenger: Model, champion: Model, console: Console, *, force: bool) -> Comparison:
    try:
        comparison = compare(challenger, champion, source.data, source.part.held_out, source.seed)
    except WorseError:
        if not force:
            raise
        console.print_line("compare: not comparable with the stable version; published anyway (--force)")
        return Comparison(version=champion.manifest.version, rows=0, loss="", difference=0.0, interval=[], forced=True)
    low, high = comparison.interval
    text = (
        f"version {comparison.version} on the same {comparison.rows} held-out rows: {comparison.loss} per row "
        f"{comparison.difference:+.4g} (95 % interval {low:+.4g} to {high:+.4g})"
    )
    console.print_line(f"compare: with stable {text}")
    if may_have_seen(challenger.manifest, champion.manifest):
        console.print_line(
            "  stable was split with another seed or other features, and may have seen these rows: this favours it"
        )
    if not is_worse(comparison):
        return comparison
    if not force:
        raise WorseError(f"worse than stable {text}; --force publishes it anyway")
    console.print_line("  significantly worse; published anyway (--force)")
    return with_members(comparison, forced=True)


def _bases(source: Source) -> pd.DataFrame:
    """Return the data rows to test thresholds with."""
    X = source.data.X
    return X.iloc[np.argsort(row_numbers(X, source.seed), kind="stable")[:BASES]].reset_index(drop=True)


def _print_scores(
    console: Console,
    title: str,
    scores: Scores,
    deviation: Scores | None = None,
    intervals: Mapping[str, list[float]] | None = None,
) -> None:
    parts = []
    for name, value in scores.items():
        spread = "" if deviation is None else f" +- {deviation[name]:.4f}"
        if intervals is not None:
            spread = " ({:.4f} to {:.4f})".format(*intervals[name])
        parts.append(f"{name} {value:.4f}{spread}")
    console.print_line(f"  {title}: {', '.join(parts)}")
