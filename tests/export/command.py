"""Runs `python -m export` as a subprocess."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run: its repository, exit code, standard output and standard error."""

    models: Path
    code: int
    said: str
    complained: str


def export(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with these arguments."""
    command = [sys.executable, "-m", "export", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def export_run(models: Path, *arguments: str) -> Run:
    """Run `export run`, which publishes into `models`."""
    done = export("run", "--models", str(models), *arguments)
    return Run(models, done.returncode, done.stdout, done.stderr)
