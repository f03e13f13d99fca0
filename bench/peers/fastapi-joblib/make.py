"""Fit the pipeline behind the Titanic model, and write it to `model.joblib` in a folder."""

import argparse
import sys
from pathlib import Path


def make(out: Path) -> None:
    """Fit the exporter's candidates with its rows and seed, and save the selected one."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    import joblib

    from export.cli.arguments import SEED
    from export.console import Console
    from export.data.dataset import load
    from export.data.source import Source
    from export.titanic import TITANIC
    from export.training.train import fit

    fitted = fit(Source.of(TITANIC, load(TITANIC), SEED), Console())
    out.mkdir(parents=True, exist_ok=True)
    joblib.dump(fitted.pipeline, out / "model.joblib")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path, help="folder to write model.joblib to")
    make(parser.parse_args().out)
