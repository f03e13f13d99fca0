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
    versions_by_model = {}
    for name in names:
        entries = compare.entries(options.models, name)
        versions_by_model[name] = [
            {"version": each.version, "labels": each.labels, "broken": each.load_error, **_facts(each.manifest)}
            for each in entries
        ]
        for each in entries:
            tags = f" ({', '.join(each.labels)})" if each.labels else ""
            console.print_line(f"{name} {each.version}{tags}: {each.load_error or _line(each.manifest)}")
    console.add_result(models=versions_by_model)
    option = models_option(options.models)
    if any(versions_by_model.values()):
        console.print_line(
            f"next: python -m export diff NAME{option}, or python -m export label NAME stable VERSION{option}"
        )
    else:
        console.print_line(f"{options.models}: no model has a version")
        console.print_line(f"next: python -m export run{option}")


def diff(options: argparse.Namespace, console: Console) -> None:
    """Print the differences between two versions."""
    pair = compare.pair(options.models, options.name, options.before, options.after)
    difference = compare.difference(options.models, options.name, pair, _table(options, pair))
    console.add_result(**msgspec.structs.asdict(difference))
    console.print_line(f"diff: {options.name} {pair[0]} and {pair[1]}")
    for title, lines in (("signature", difference.signature), ("provenance", difference.provenance)):
        console.print_line(f"{title}: {'the same' if not lines else ''}".rstrip())
        for line in lines:
            console.print_line(f"  {line}")
    if difference.incompatible:
        console.print_line(f"api: clients of the typed RPC API must change: {'; '.join(difference.incompatible)}")
    for name, (old, new) in difference.scores.items():
        console.print_line(
            f"{name}, each version on its own held-out rows: {old:.4f} is now {new:.4f} ({new - old:+.4f})"
        )
    _print_disagreement(difference.disagreement, console)
    option = models_option(options.models)
    console.print_line(
        f"next: python -m export label {options.name} stable {pair[1]}{option}, or rollback {options.name}{option}"
    )


def card(options: argparse.Namespace, console: Console) -> None:
    """Print the path of a version's model card, or render the card to --out."""
    version = compare.find(options.models, options.name, options.version)
    folder = options.models / options.name / str(version)
    console.add_result(model=options.name, version=version, card=str(folder / CARD_FILE))
    if options.out is None:
        if not (folder / CARD_FILE).is_file():
            raise labels.LabelError(f"{folder} has no {CARD_FILE}; --out FILE renders one")
        console.print_line(f"card: {folder / CARD_FILE}")
        console.print_line(f"next: open it in a browser; a server has it at /api/models/{options.name}/card")
        return
    spec = _spec_of(options)
    data = load(spec, options.data)
    model = Model.load(folder)
    provenance = model.manifest.provenance
    if data.table.sha256 != provenance.dataset_sha256:
        raise DataError(
            f"{data.table.name} is not the data that version {version} was trained on ({provenance.dataset})"
        )
    options.out.write_bytes(draw(model.manifest, model, data, split(data, provenance.seed)))
    console.add_result(card=str(options.out))
    console.print_line(f"card: {options.out} written")
    console.print_line("next: open it in a browser")


def load_spec(path: Path | None) -> Spec:
    """Return the spec that a file defines, by default Titanic's. Raises SpecError."""
    return TITANIC if path is None else read_spec(path)


def models_option(models: Path) -> str:
    """Return the --models option for suggested commands, empty for the default repository."""
    return "" if models == Path("models") else f" --models {models}"


def _spec_of(options: argparse.Namespace) -> Spec:
    spec = load_spec(options.spec)
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
    provenance = manifest.provenance
    return f"{provenance.estimator} of {provenance.dataset}, {provenance.dataset_rows} rows; {scores}"


def _print_disagreement(disagreement: compare.Disagreement | None, console: Console) -> None:
    if disagreement is None:
        console.print_line("predictions: not compared; --data FILE selects rows that both versions accept")
        return
    console.print_line(
        f"predictions: {disagreement.labels} labels of {disagreement.rows} rows differ; mean difference "
        f"{disagreement.mean:.4f}, "
        f"largest {disagreement.largest:.4f}"
    )
    for each in disagreement.worst:
        console.print_line(f"  {each['row']}: {each['before']} is now {each['after']}")
