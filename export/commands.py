"""What each command of the exporter does, and what it says."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from export import labels, versions
from export.card import card as draw
from export.console import Console
from export.data import DataError, Table, dataset, features_of, fetch_table, load, read_table, split
from export.recipe import recipe
from export.source import Source
from export.spec import Spec, SpecError, read_spec
from export.steps import CARD_FILE, Candidate, Trained, Wishes, release, train, unchanged, verify
from export.titanic import TITANIC
from export.work import CANDIDATE, TRAINED, WorkError, find, leave
from server.manifest import Manifest
from server.model import Model

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
    spec = _spec(options.spec)
    source, _ = _source(spec, options.data, options.seed, openml=options.openml)
    wishes = _wishes(options)
    labels.check(wishes.models / spec.name)  # what is broken there is told before the work, not after it
    if unchanged(source, wishes, console):
        return
    release(source, verify(source, train(source, console), console), wishes, console)


def train_only(options: argparse.Namespace, console: Console) -> None:
    """Train, and leave the fitted pipeline in the work folder."""
    spec = _spec(options.spec)
    source, path = _source(spec, options.data, options.seed, openml=options.openml)
    trained = train(source, console)
    where = leave(options.work / spec.name, TRAINED, Left(path, options.seed, trained.recipe, trained))
    console.fact(model=spec.name, trained=str(where))
    console.say(f"train: {where} written")
    console.say(f"next: python -m export verify{_same(options)}")


def verify_only(options: argparse.Namespace, console: Console) -> None:
    """Convert and compare what was trained, and leave the candidate in the work folder."""
    spec = _spec(options.spec)
    left, source = _left(options, spec, TRAINED, "train")
    assert isinstance(left.found, Trained)  # noqa: S101 # what is in that file
    candidate = verify(source, left.found, console)
    where = leave(options.work / spec.name, CANDIDATE, Left(left.data, left.seed, left.recipe, candidate))
    console.fact(model=spec.name, candidate=str(where))
    console.say(f"verify: {where} written")
    console.say(f"next: python -m export publish{_same(options)}")


def publish_only(options: argparse.Namespace, console: Console) -> None:
    """Publish what was verified."""
    left, source = _left(options, _spec(options.spec), CANDIDATE, "verify")
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


def list_versions(options: argparse.Namespace, console: Console) -> None:
    """List a model's versions, or every model's."""
    names = [options.name] if options.name else labels.names(options.models)
    listed = {}
    for name in names:
        found = versions.entries(options.models, name)
        listed[name] = [
            {"version": each.version, "labels": each.labels, "broken": each.broken, **_facts(each.manifest)}
            for each in found
        ]
        for each in found:
            tags = f" ({', '.join(each.labels)})" if each.labels else ""
            console.say(f"{name} {each.version}{tags}: {each.broken or _line(each.manifest)}")
    console.fact(models=listed)
    if not any(listed.values()):
        console.say(f"{options.models}: there is no version of any model")
    console.say("next: python -m export diff NAME, or python -m export label NAME stable VERSION")


def diff(options: argparse.Namespace, console: Console) -> None:
    """Compare two versions."""
    pair = versions.pair(options.models, options.name, options.before, options.after)
    found = versions.difference(options.models, options.name, pair, _table(options, pair))
    console.fact(**msgspec.structs.asdict(found))
    console.say(f"diff: {options.name} {pair[0]} and {pair[1]}")
    for title, lines in (("signature", found.signature), ("made from", found.provenance)):
        console.say(f"{title}: {'the same' if not lines else ''}".rstrip())
        for line in lines:
            console.say(f"  {line}")
    if found.incompatible:
        console.say(f"api: callers of the typed RPC API must change: {'; '.join(found.incompatible)}")
    for name, (old, new) in found.scores.items():
        console.say(f"{name}, each on its own held-out rows: {old:.4f} is now {new:.4f} ({new - old:+.4f})")
    _say_disagreement(found.disagreement, console)
    console.say(f"next: python -m export label {options.name} stable {pair[1]}, or rollback {options.name}")


def card(options: argparse.Namespace, console: Console) -> None:
    """Tell where a version's card is; draw it again where a file is named."""
    version = versions.find(options.models, options.name, options.version)
    folder = options.models / options.name / str(version)
    console.fact(model=options.name, version=version, card=str(folder / CARD_FILE))
    if options.out is None:
        if not (folder / CARD_FILE).is_file():
            raise labels.LabelError(f"{folder} has no {CARD_FILE}; --out FILE draws one")
        console.say(f"card: {folder / CARD_FILE}")
        console.say(f"next: open it in a browser; a server answers it at /api/models/{options.name}/card")
        return
    spec = _spec_of(options)
    data = load(spec, options.data)
    model = Model.load(folder)
    made_from = model.manifest.provenance
    if data.table.sha256 != made_from.dataset_sha256:
        raise DataError(f"{data.table.name} is not what version {version} was made from ({made_from.dataset})")
    options.out.write_bytes(draw(model.manifest, model, data, split(data, made_from.seed)))
    console.fact(card=str(options.out))
    console.say(f"card: {options.out} written")
    console.say("next: open it in a browser")


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


def _spec(path: Path | None) -> Spec:
    return TITANIC if path is None else read_spec(path)


def _spec_of(options: argparse.Namespace) -> Spec:
    spec = _spec(options.spec)
    if spec.name != options.name:
        raise SpecError(f"--spec: expected the spec of {options.name}; got {spec.name}'s")
    return spec


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


def _table(options: argparse.Namespace, pair: tuple[int, int]) -> Table | None:
    """Return the rows that both versions are to answer: those asked for, or the spec's own where both can."""
    if options.data is not None:
        return read_table(options.data)
    if options.name != TITANIC.name or TITANIC.data is None:
        return None
    table = read_table(TITANIC.data)
    try:
        for version in pair:
            features_of(table, versions.read(options.models, options.name, version).features)
    except DataError:
        return None
    return table


def _same(options: argparse.Namespace) -> str:
    return f" --spec {options.spec}" if options.spec else ""


def _tell_servers(name: str, console: Console) -> None:
    console.say(
        f"next: a server that watches the folder follows by itself; another by POST /v2/repository/models/{name}/load"
    )


def _facts(manifest: Manifest | None) -> dict[str, object]:
    if manifest is None:
        return {}
    metrics = manifest.metrics
    return {
        "estimator": manifest.provenance.estimator,
        "dataset": manifest.provenance.dataset,
        "rows": manifest.provenance.dataset_rows,
        "held_out": None if metrics is None else metrics.held_out,
        "sha256": manifest.sha256,
    }


def _line(manifest: Manifest | None) -> str:
    if manifest is None or manifest.metrics is None:
        return "no scores"
    scores = ", ".join(f"{name} {value:.4f}" for name, value in manifest.metrics.held_out.items())
    made_from = manifest.provenance
    return f"{made_from.estimator} of {made_from.dataset}, {made_from.dataset_rows} rows; {scores}"


def _say_disagreement(found: versions.Disagreement | None, console: Console) -> None:
    if found is None:
        console.say("answers: not compared: --data FILE names rows that both can answer")
        return
    console.say(
        f"answers: {found.labels} labels of {found.rows} rows differ; answers by {found.mean:.4f} in the mean, "
        f"{found.largest:.4f} at most"
    )
    for each in found.worst:
        console.say(f"  {each['row']}: {each['before']} is now {each['after']}")
