"""`python -m export` as a person runs it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Run:
    """One run that has ended: where it was to publish, its exit code, what it said on either stream."""

    models: Path
    code: int
    said: str
    complained: str


def export(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the command line."""
    command = [sys.executable, "-m", "export", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def export_run(models: Path, *arguments: str) -> Run:
    """Take every step, to publish into `models`."""
    done = export("run", "--models", str(models), *arguments)
    return Run(models, done.returncode, done.stdout, done.stderr)
