"""`python -m export run`: data to a published model, the steps in order."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from export.convert import ConvertError, convert
from export.data import DataError, Spec, load, split
from export.describe import Evidence, manifest
from export.publish import promote, publish
from export.titanic import TITANIC
from export.train import fit, measure
from export.verify import ParityError, Verified, edge_records, edge_rows
from server.errors import ModelError
from server.manifest import Scores
from server.repository import LABELS_FILE, read_labels

SEED = 1912


def main() -> int:
    """Parse the command line and run it. Returns the exit code: 0 done, 1 refused with the reason."""
    parser = argparse.ArgumentParser(prog="python -m export", description="Train, convert, verify and publish a model.")
    run_parser = parser.add_subparsers(dest="command", required=True).add_parser(
        "run", help="all steps, data to published version"
    )
    run_parser.add_argument(
        "--data", type=Path, default=TITANIC.data, help="CSV file to train on (default: the one in the tree)"
    )
    run_parser.add_argument(
        "--models", type=Path, default=Path("models"), help="the model repository (default: models)"
    )
    run_parser.add_argument(
        "--seed", type=int, default=SEED, help=f"seed of the split and the training (default: {SEED})"
    )
    run_parser.add_argument("--no-promote", action="store_true", help="leave the label 'stable' where it is")
    arguments = parser.parse_args()
    try:
        run(TITANIC, arguments.data, arguments.models, arguments.seed, move_stable=not arguments.no_promote)
    except (DataError, ConvertError, ParityError, ModelError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    return 0


def run(spec: Spec, data: Path, models: Path, seed: int, *, move_stable: bool) -> None:
    """Take every step; each raises its own error, and until the last nothing is published."""
    read_labels(models / spec.name / LABELS_FILE)  # a broken one is told before the work, not after it
    dataset = load(data, spec)
    part = split(dataset, seed)
    print(f"data: {len(dataset.y)} rows, {len(part.y_test)} of them held out (seed {seed})")
    print("train: candidates, least log loss wins")
    fitted = fit(spec.features, part, seed, print)
    metrics = measure(spec, dataset, part, fitted)
    _show(f"{fitted.estimator}, held-out rows", metrics.held_out)
    _show(
        f"{fitted.estimator}, over {metrics.seeds} other splits", metrics.over_seeds.mean, metrics.over_seeds.deviation
    )
    _show("plain logistic regression, held-out rows", metrics.baseline)
    baseline = metrics.baseline_over_seeds
    _show(f"plain logistic regression, over {metrics.seeds} other splits", baseline.mean, baseline.deviation)

    converted = convert(fitted.pipeline, spec.features, len(spec.classes))
    print(f"convert: {len(converted.model)} bytes, IR {converted.ir_version}, opsets {converted.opsets}")
    verified = Verified(fitted.pipeline, converted, spec.features)
    edges = edge_records(spec.features, {f.name: f.example for f in spec.features})
    rows = pd.concat([dataset.X, edge_rows(spec.features, edges)], ignore_index=True)
    parity = verified.parity(rows)
    min_batch_rows = verified.min_batch_rows(rows)
    difference = parity.max_abs_difference
    print(f"verify: {parity.rows} rows, {parity.label_flips} labels differ, probabilities by at most {difference}")

    evidence = Evidence(dataset, seed, fitted, metrics, converted, parity, verified.golden(edges), min_batch_rows)
    published = publish(models, spec.name, converted.model, lambda version: manifest(spec, version, evidence))
    if move_stable:
        promote(models, spec.name, published.version)
    what = "published" if published.new else "unchanged: the newest version is this very model"
    print(f"publish: {published.path} {what}")
    if published.incompatible:
        print(f"api: version {published.api_version} of the typed RPC API: {'; '.join(published.incompatible)}")
    print("next: make run, or make image")


def _show(title: str, scores: Scores, deviation: Scores | None = None) -> None:
    parts = []
    for name in Scores.__struct_fields__:
        spread = "" if deviation is None else f" +- {getattr(deviation, name):.4f}"
        parts.append(f"{name} {getattr(scores, name):.4f}{spread}")
    print(f"  {title}: {', '.join(parts)}")


if __name__ == "__main__":
    sys.exit(main())
