"""Limit a process to the platform's smallest instance size with a Linux control group."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MEMORY_BYTES: Final = 1024**3
"""1 GiB, the memory of a `basic` instance."""
PERIOD_US: Final = 100_000
QUOTA_US: Final = 25_000
"""A quarter of a CPU, as in a `basic` instance."""
_ROOT: Final = Path("/sys/fs/cgroup")


class NoBoxError(Exception):
    """Error: no control group can be made on this machine. The message says why."""


@contextmanager
def box(pid: int) -> Iterator[None]:
    """Limit a process's memory and CPU. Raises NoBoxError if no control group can be made.

    Memory that the process holds already counts towards the limit.
    """
    folders = _folders()
    name = f"lifeboat-{os.getpid()}-{pid}"
    made: list[Path] = []
    try:
        try:
            for folder, values in folders:
                path = folder / name
                path.mkdir()
                made.append(path)
                for file, value in values.items():
                    (path / file).write_text(value)
                (path / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise NoBoxError(f"no control group may be made here: {error}") from error
        yield
    finally:
        for path in made:
            _leave(path)


def _folders() -> list[tuple[Path, dict[str, str]]]:
    """Return the control group folders and the files to write in each.

    Versions 1 and 2 of control groups differ.
    """
    if (_ROOT / "cgroup.controllers").exists():
        both = {"memory.max": str(MEMORY_BYTES), "cpu.max": f"{QUOTA_US} {PERIOD_US}"}
        return [(_ROOT, both)]
    cpu = {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(QUOTA_US)}
    return [(_ROOT / "memory", {"memory.limit_in_bytes": str(MEMORY_BYTES)}), (_ROOT / "cpu", cpu)]


def _leave(path: Path) -> None:
    """Move the remaining processes of a group to its parent, and remove the group."""
    with contextlib.suppress(OSError):
        for pid in (path / "cgroup.procs").read_text().split():
            (path.parent / "cgroup.procs").write_text(pid)
        path.rmdir()
