"""Run the commands that change nothing: list, diff, card."""

import argparse
from pathlib import Path

import msgspec

from export.card import card as draw
from export.console import Console
from export.data.dataset import DataError, Table, features_of, load, read_table, split
from export.registry import compare, labels
from export.spec import Spec, SpecError, read_spec
from export.titanic import TITANIC
from server.models.manifest import Manifest
from server.models.session import Model
from server.models.version_directory import CARD_FILE


def list_versions(options: argparse.Namespace, console: Console) -> None:
    """List the versions of one model or of all models."""
    names = [options.name] if options.name else labels.names(options.models)
    listed = {}
    for name in names:
        found = compare.entries(options.models, name)
        listed[name] = [
            {"version": each.version, "labels": each.labels, "broken": each.broken, **_facts(each.manifest)}
            for each in found
        ]
        for each in found:
            tags = f" ({', '.join(each.labels)})" if each.labels else ""
            console.say(f"{name} {each.version}{tags}: {each.broken or _line(each.manifest)}")
    console.fact(models=listed)
    where = below(options.models)
    if any(listed.values()):
        console.say(f"next: python -m export diff NAME{where}, or python -m export label NAME stable VERSION{where}")
    else:
        console.say(f"{options.models}: no model has a version")
        console.say(f"next: python -m export run{where}")


def diff(options: argparse.Namespace, console: Console) -> None:
    """Print the differences between two versions."""
    pair = compare.pair(options.models, options.name, options.before, options.after)
    found = compare.difference(options.models, options.name, pair, _table(options, pair))
    console.fact(**msgspec.structs.asdict(found))
    console.say(f"diff: {options.name} {pair[0]} and {pair[1]}")
    for title, lines in (("signature", found.signature), ("provenance", found.provenance)):
        console.say(f"{title}: {'the same' if not lines else ''}".rstrip())
        for line in lines:
            console.say(f"  {line}")
    if found.incompatible:
        console.say(f"api: clients of the typed RPC API must change: {'; '.join(found.incompatible)}")
    for name, (old, new) in found.scores.items():
        console.say(f"{name}, each version on its own held-out rows: {old:.4f} is now {new:.4f} ({new - old:+.4f})")
    _say_disagreement(found.disagreement, console)
    where = below(options.models)
    console.say(
        f"next: python -m export label {options.name} stable {pair[1]}{where}, or rollback {options.name}{where}"
    )


def card(options: argparse.Namespace, console: Console) -> None:
    """Print the path of a version's model card, or render the card to --out."""
    version = compare.find(options.models, options.name, options.version)
    folder = options.models / options.name / str(version)
    console.fact(model=options.name, version=version, card=str(folder / CARD_FILE))
    if options.out is None:
        if not (folder / CARD_FILE).is_file():
            raise labels.LabelError(f"{folder} has no {CARD_FILE}; --out FILE renders one")
        console.say(f"card: {folder / CARD_FILE}")
        console.say(f"next: open it in a browser; a server has it at /api/models/{options.name}/card")
        return
    spec = _spec_of(options)
    data = load(spec, options.data)
    model = Model.load(folder)
    made_from = model.manifest.provenance
    if data.table.sha256 != made_from.dataset_sha256:
        raise DataError(
            f"{data.table.name} is not the data that version {version} was trained on ({made_from.dataset})"
        )
    options.out.write_bytes(draw(model.manifest, model, data, split(data, made_from.seed)))
    console.fact(card=str(options.out))
    console.say(f"card: {options.out} written")
    console.say("next: open it in a browser")


def chosen(path: Path | None) -> Spec:
    """Return the spec that a file defines, by default Titanic's. Raises SpecError."""
    return TITANIC if path is None else read_spec(path)


def below(models: Path) -> str:
    """Return the --models option for suggested commands, empty for the default repository."""
    return "" if models == Path("models") else f" --models {models}"


def _spec_of(options: argparse.Namespace) -> Spec:
    spec = chosen(options.spec)
    if spec.name != options.name:
        raise SpecError(f"--spec: expected the spec of {options.name}; got {spec.name}'s")
    return spec


def _table(options: argparse.Namespace, pair: tuple[int, int]) -> Table | None:
    """Return the rows to compare predictions on: --data, else the Titanic data.

    Returns None for another model without --data, or if a signature doesn't allow the Titanic data.
    """
    if options.data is not None:
        return read_table(options.data)
    if options.name != TITANIC.name or TITANIC.data is None:
        return None
    table = read_table(TITANIC.data)
    try:
        for version in pair:
            features_of(table, compare.read(options.models, options.name, version).features)
    except DataError:
        return None
    return table


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


def _say_disagreement(found: compare.Disagreement | None, console: Console) -> None:
    if found is None:
        console.say("predictions: not compared; --data FILE selects rows that both versions accept")
        return
    console.say(
        f"predictions: {found.labels} labels of {found.rows} rows differ; mean difference {found.mean:.4f}, "
        f"largest {found.largest:.4f}"
    )
    for each in found.worst:
        console.say(f"  {each['row']}: {each['before']} is now {each['after']}")
