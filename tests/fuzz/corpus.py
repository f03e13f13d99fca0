"""The inputs in the repository: selected by coverage, or known to lead to a fault."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "corpus"
"""One folder of inputs for each target."""
FOUND: Final = Path(__file__).parent / "found"
"""Inputs that led to a fault, each named `<target>--<digest>`."""
MAX_KEPT_BYTES: Final = 4096
_SHA1_LETTERS: Final = 40
"""Length of the name that libFuzzer gives an input."""


def kept(target: str) -> list[bytes]:
    """Return the inputs of a target, always in the same order."""
    files = [*sorted((FOLDER / target).glob("*")), *sorted(FOUND.glob(f"{target}--*"))]
    return [path.read_bytes() for path in files]


def keep(run: Path, job: int, targets: Sequence[str], most: int) -> None:
    """Copy the smallest inputs that added coverage in a run to the corpus.

    At most `most` inputs for each target of `job` are copied.
    """
    smallest: dict[str, list[bytes]] = {target: [] for target in targets}
    for path in run.glob(f"corpus-progress-{job}/*"):
        data = path.read_bytes()
        if len(path.name) == _SHA1_LETTERS and 1 < len(data) <= MAX_KEPT_BYTES:  # the other files are seeds
            smallest[targets[data[0] % len(targets)]].append(data[1:])
    for target, inputs in smallest.items():
        folder = FOLDER / target
        folder.mkdir(parents=True, exist_ok=True)
        for data in sorted(inputs, key=lambda each: (len(each), each))[:most]:
            (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def found() -> list[Path]:
    """Return the files of all inputs that led to a fault."""
    return sorted(FOUND.glob("*--*"))
