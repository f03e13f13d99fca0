"""Run the exporter's commands and print their results."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from export.cli.arguments import WORK
from export.cli.inspect_commands import card, diff, list_versions, load_spec
from export.console import Console
from export.data.dataset import dataset, fetch_table, load
from export.data.source import Source
from export.pipeline.artifacts import CANDIDATE, TRAINED, WorkError, load_result, save
from export.pipeline.fingerprint import recipe
from export.pipeline.steps import Candidate, PublishOptions, Trained, release, train, unchanged, verify
from export.registry import labels
from export.spec import Spec

Command = Callable[[argparse.Namespace, Console], None]


@dataclass(frozen=True, slots=True)
class StepArtifact:
    """Result of a step for the next step, with the origin of its data."""

    data: Path | None
    """Path of the CSV file; None for OpenML."""
    seed: int
    recipe: str
    result: Trained | Candidate


def run(options: argparse.Namespace, console: Console) -> None:
    """Run all steps.

    Each step raises its own errors. Only the last step publishes.
    """
    spec = load_spec(options.spec)
    source, _ = _source(spec, options.data, options.seed, openml=options.openml)
    publish_options = _publish_options(options)
    labels.check(publish_options.models / spec.name)  # a broken file is reported before the training, not after it
    if unchanged(source, publish_options, console):
        return
    release(source, verify(source, train(source, console), console), publish_options, console)


def train_only(options: argparse.Namespace, console: Console) -> None:
    """Train, and write the fitted pipeline to the work folder."""
    spec = load_spec(options.spec)
    source, path = _source(spec, options.data, options.seed, openml=options.openml)
    trained = train(source, console)
    file = save(options.work / spec.name, TRAINED, StepArtifact(path, options.seed, trained.recipe, trained))
    console.add_result(model=spec.name, trained=str(file))
    console.print_line(f"train: {file} written")
    console.print_line(f"next: python -m export verify{_repeated_options(options)}")


def verify_only(options: argparse.Namespace, console: Console) -> None:
    """Convert and verify the trained pipeline, and write the candidate to the work folder."""
    spec = load_spec(options.spec)
    artifact, source = _artifact(options, spec, TRAINED, "train")
    assert isinstance(artifact.result, Trained)  # noqa: S101 # the type in that file
    candidate = verify(source, artifact.result, console)
    path = save(
        options.work / spec.name, CANDIDATE, StepArtifact(artifact.data, artifact.seed, artifact.recipe, candidate)
    )
    console.add_result(model=spec.name, candidate=str(path))
    console.print_line(f"verify: {path} written")
    console.print_line(f"next: python -m export publish{_repeated_options(options)}")


def publish_only(options: argparse.Namespace, console: Console) -> None:
    """Publish the verified candidate."""
    artifact, source = _artifact(options, load_spec(options.spec), CANDIDATE, "verify")
    assert isinstance(artifact.result, Candidate)  # noqa: S101 # the type in that file
    release(source, artifact.result, _publish_options(options), console)


def label(options: argparse.Namespace, console: Console) -> None:
    """Move or remove a label."""
    if options.remove == (options.version is not None):
        raise labels.LabelError("label: expected either a version or --remove")
    console.add_result(model=options.name, label=options.label, version=options.version)
    if options.remove:
        before = labels.remove(options.models, options.name, options.label)
        console.print_line(f"label: {options.label} of {options.name} is removed; it pointed at version {before}")
        return
    moved_from = labels.move(options.models, options.name, options.label, options.version)
    console.add_result(before=moved_from)
    previous = f", it was {moved_from}" if moved_from not in {None, options.version} else ""
    console.print_line(f"label: {options.label} of {options.name} is version {options.version}{previous}")
    _print_reload_hint(options.name, console)


def rollback(options: argparse.Namespace, console: Console) -> None:
    """Move a label back to its previous version."""
    before, version = labels.rollback(options.models, options.name, options.label)
    console.add_result(model=options.name, label=options.label, version=version, before=before)
    console.print_line(f"rollback: {options.label} of {options.name} is version {version} again, it was {before}")
    _print_reload_hint(options.name, console)


COMMANDS: Final[Mapping[str, Command]] = {
    "run": run,
    "train": train_only,
    "verify": verify_only,
    "publish": publish_only,
    "label": label,
    "rollback": rollback,
    "list": list_versions,
    "diff": diff,
    "card": card,
}


def _source(spec: Spec, path: Path | None, seed: int, *, openml: bool) -> tuple[Source, Path | None]:
    """Return the source to train on and the path of its CSV file (None: OpenML)."""
    if openml:
        return Source.of(spec, dataset(fetch_table(spec), spec), seed), None
    path = path or spec.data
    return Source.of(spec, load(spec, path), seed), path.resolve() if path else None


def _artifact(options: argparse.Namespace, spec: Spec, file: str, step: str) -> tuple[StepArtifact, Source]:
    artifact = load_result(options.work / spec.name, file, StepArtifact, step)
    source, _ = _source(spec, artifact.data, artifact.seed, openml=artifact.data is None)
    if recipe(source) != artifact.recipe:
        raise WorkError(
            "the spec, data or libraries have changed since the training; run again: python -m export train"
        )
    return artifact, source


def _publish_options(options: argparse.Namespace) -> PublishOptions:
    return PublishOptions(options.models, promote=not options.no_promote, force=options.force)


def _repeated_options(options: argparse.Namespace) -> str:
    spec = f" --spec {options.spec}" if options.spec else ""
    return spec if options.work == WORK else f"{spec} --work {options.work}"


def _print_reload_hint(name: str, console: Console) -> None:
    console.print_line(
        f"next: a server that polls the folder reloads the model; for others, POST /v2/repository/models/{name}/load"
    )
