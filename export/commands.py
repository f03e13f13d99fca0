"""What each command of the exporter does, and what it says."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from export import labels
from export.console import Console
from export.data import dataset, fetch_table, load
from export.looking import card, chosen, diff, list_versions
from export.options import WORK
from export.recipe import recipe
from export.source import Source
from export.spec import Spec
from export.steps import Candidate, Trained, Wishes, release, train, unchanged, verify
from export.work import CANDIDATE, TRAINED, WorkError, find, leave

Command = Callable[[argparse.Namespace, Console], None]


@dataclass(frozen=True, slots=True)
class Left:
    """What a step leaves for the next: what it found, and where it had it from."""

    data: Path | None
    """None: from OpenML."""
    seed: int
    recipe: str
    found: Trained | Candidate


def run(options: argparse.Namespace, console: Console) -> None:
    """Take every step; each raises its own error, and until the last nothing is published."""
    spec = chosen(options.spec)
    source, _ = _source(spec, options.data, options.seed, openml=options.openml)
    wishes = _wishes(options)
    labels.check(wishes.models / spec.name)  # what is broken there is told before the work, not after it
    if unchanged(source, wishes, console):
        return
    release(source, verify(source, train(source, console), console), wishes, console)


def train_only(options: argparse.Namespace, console: Console) -> None:
    """Train, and leave the fitted pipeline in the work folder."""
    spec = chosen(options.spec)
    source, path = _source(spec, options.data, options.seed, openml=options.openml)
    trained = train(source, console)
    where = leave(options.work / spec.name, TRAINED, Left(path, options.seed, trained.recipe, trained))
    console.fact(model=spec.name, trained=str(where))
    console.say(f"train: {where} written")
    console.say(f"next: python -m export verify{_same(options)}")


def verify_only(options: argparse.Namespace, console: Console) -> None:
    """Convert and compare what was trained, and leave the candidate in the work folder."""
    spec = chosen(options.spec)
    left, source = _left(options, spec, TRAINED, "train")
    assert isinstance(left.found, Trained)  # noqa: S101 # what is in that file
    candidate = verify(source, left.found, console)
    where = leave(options.work / spec.name, CANDIDATE, Left(left.data, left.seed, left.recipe, candidate))
    console.fact(model=spec.name, candidate=str(where))
    console.say(f"verify: {where} written")
    console.say(f"next: python -m export publish{_same(options)}")


def publish_only(options: argparse.Namespace, console: Console) -> None:
    """Publish what was verified."""
    left, source = _left(options, chosen(options.spec), CANDIDATE, "verify")
    assert isinstance(left.found, Candidate)  # noqa: S101 # what is in that file
    release(source, left.found, _wishes(options), console)


def label(options: argparse.Namespace, console: Console) -> None:
    """Move a label, or take it away."""
    if options.remove == (options.version is not None):
        raise labels.LabelError("label: expected either a version or --remove")
    console.fact(model=options.name, label=options.label, version=options.version)
    if options.remove:
        before = labels.remove(options.models, options.name, options.label)
        console.say(f"label: {options.label} of {options.name} is gone; it pointed at version {before}")
        return
    moved_from = labels.move(options.models, options.name, options.label, options.version)
    console.fact(before=moved_from)
    was = f", it was {moved_from}" if moved_from not in {None, options.version} else ""
    console.say(f"label: {options.label} of {options.name} is version {options.version}{was}")
    _tell_servers(options.name, console)


def rollback(options: argparse.Namespace, console: Console) -> None:
    """Move a label back."""
    before, version = labels.rollback(options.models, options.name, options.label)
    console.fact(model=options.name, label=options.label, version=version, before=before)
    console.say(f"rollback: {options.label} of {options.name} is version {version} again, it was {before}")
    _tell_servers(options.name, console)


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
    """Return what to train on, and where it was had from: None is OpenML."""
    if openml:
        return Source.of(spec, dataset(fetch_table(spec), spec), seed), None
    where = path or spec.data
    return Source.of(spec, load(spec, where), seed), where.resolve() if where else None


def _left(options: argparse.Namespace, spec: Spec, file: str, step: str) -> tuple[Left, Source]:
    left = find(options.work / spec.name, file, Left, step)
    source, _ = _source(spec, left.data, left.seed, openml=left.data is None)
    if recipe(source) != left.recipe:
        raise WorkError("spec, data or libraries are not what was trained with; again: python -m export train")
    return left, source


def _wishes(options: argparse.Namespace) -> Wishes:
    return Wishes(options.models, promote=not options.no_promote, force=options.force)


def _same(options: argparse.Namespace) -> str:
    spec = f" --spec {options.spec}" if options.spec else ""
    return spec if options.work == WORK else f"{spec} --work {options.work}"


def _tell_servers(name: str, console: Console) -> None:
    console.say(
        f"next: a server that watches the folder follows by itself; another by POST /v2/repository/models/{name}/load"
    )
