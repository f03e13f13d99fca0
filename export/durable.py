"""Files and folders that are there whole after any crash, or not at all; and one writer at a time."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LOCK: Final = ".lock"
_DRAFT: Final = ".draft-"


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Be the only one to write in `home`, a folder that is made where it isn't there; wait for who else is.

    The kernel ends the lock with its process, however that ends: a file that a crash leaves locks nothing. A folder
    that is empty in the end is removed. Drafts that a crash left are of no one that lives, and are removed first.
    """
    while True:
        _make(home)
        try:
            descriptor = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue  # who had the lock has just removed the folder, empty as it was
        with os.fdopen(descriptor, "rb"):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_there(descriptor, home / _LOCK):
                continue  # it was removed by who had the lock: this one keeps nobody out
            try:
                for left in home.glob(f"{_DRAFT}*"):
                    _remove(left)
                yield
            finally:
                (home / _LOCK).unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    home.rmdir()
            return


@contextmanager
def draft(home: Path) -> Iterator[Path]:
    """Yield a new folder in `home`, to be renamed to its place; what is left of it at the end is removed.

    To be called by who holds the lock.
    """
    path = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=home))
    path.chmod(0o755)
    try:
        yield path
    finally:
        _remove(path)


def place(folder: Path, path: Path, files: Mapping[str, bytes]) -> None:
    """Rename a folder, its files written by `write`, to its place, durably: the files' names, and the folder's own."""
    assert all((folder / name).is_file() for name in files)  # noqa: S101 # nothing half-written gets a place
    flush(folder)
    folder.rename(path)
    flush(path.parent)


def write(path: Path, content: bytes) -> None:
    """Write a file, and wait until the disk has it; its name is durable after `flush` of its folder."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another in one step: readers see the one or the other, whole."""
    beside = path.with_name(f"{_DRAFT}{path.name}")
    write(beside, content)
    beside.replace(path)
    flush(path.parent)


def flush(folder: Path) -> None:
    """Make the names in a folder durable: a file's own flush doesn't cover them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make(folder: Path) -> None:
    """Make a folder where it isn't there, and those above it; its name is durable then."""
    if not folder.parent.is_dir():
        _make(folder.parent)
    with contextlib.suppress(FileExistsError):  # not by exist_ok, which fails where it is removed meanwhile
        folder.mkdir()
    flush(folder.parent)


def _is_there(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one at `path`."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _remove(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            child.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
