"""The inputs that are kept in the tree: what coverage found worth keeping, and every input that once led to a fault."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "corpus"
"""A folder of inputs for each target."""
FOUND: Final = Path(__file__).parent / "found"
"""Inputs that once led to a fault, each named `<target>--<digest>`."""
MAX_KEPT_BYTES: Final = 4096
_SHA1_LETTERS: Final = 40
"""How long the name is that libFuzzer gives an input."""


def kept(target: str) -> list[bytes]:
    """Return the kept inputs of a target, always in the same order."""
    files = [*sorted((FOLDER / target).glob("*")), *sorted(FOUND.glob(f"{target}--*"))]
    return [path.read_bytes() for path in files]


def keep(run: Path, job: int, targets: Sequence[str], most: int) -> None:
    """Keep the smallest inputs that added coverage in a run, `most` of each target; `job` had these targets."""
    smallest: dict[str, list[bytes]] = {target: [] for target in targets}
    for path in run.glob(f"corpus-progress-{job}/*"):
        data = path.read_bytes()
        if len(path.name) == _SHA1_LETTERS and 1 < len(data) <= MAX_KEPT_BYTES:  # the others are what it began from
            smallest[targets[data[0] % len(targets)]].append(data[1:])
    for target, inputs in smallest.items():
        folder = FOLDER / target
        folder.mkdir(parents=True, exist_ok=True)
        for data in sorted(inputs, key=lambda each: (len(each), each))[:most]:
            (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def found() -> list[Path]:
    """Return every input that once led to a fault."""
    return sorted(FOUND.glob("*--*"))
