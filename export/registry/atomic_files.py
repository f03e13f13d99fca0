"""Write files and folders atomically, by one writer at a time."""

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
def locked(folder: Path) -> Iterator[None]:
    """Hold the exclusive write lock of `folder`, after waiting for other writers.

    Creates the folder if it doesn't exist, and removes it at the end if it is empty. The kernel releases the lock when
    the process ends for any reason, so a lock file that remains after a crash locks nothing. Removes the drafts of
    crashed processes first: while the lock is held, no live process owns a draft.
    """
    while True:
        _create(folder)
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue  # the previous lock holder has just removed the empty folder
        with os.fdopen(descriptor, "rb"):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_same_file(descriptor, folder / _LOCK):
                continue  # the previous lock holder removed this file: its lock excludes no writer
            try:
                for draft_path in folder.glob(f"{_DRAFT}*"):
                    _remove(draft_path)
                yield
            finally:
                (folder / _LOCK).unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    folder.rmdir()
            return


@contextmanager
def draft(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder in `folder` for the caller to rename.

    At the end, a folder that was not renamed is removed. The caller must hold the lock.
    """
    path = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=folder))
    path.chmod(0o755)
    try:
        yield path
    finally:
        _remove(path)


def rename_folder(folder: Path, path: Path, files: Mapping[str, bytes]) -> None:
    """Rename a folder to `path` durably: flush the file names and the folder name.

    `write` must have written the `files` of the folder before.
    """
    assert all((folder / name).is_file() for name in files)  # noqa: S101 # an incomplete folder must not be published
    flush(folder)
    folder.rename(path)
    flush(path.parent)


def write(path: Path, content: bytes) -> None:
    """Write a file and flush its content to the disk.

    The file name is durable only after `flush` of the folder.
    """
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, content: bytes) -> None:
    """Replace a file atomically: readers see the complete old or new content."""
    temporary = path.with_name(f"{_DRAFT}{path.name}")
    write(temporary, content)
    temporary.replace(path)
    flush(path.parent)


def flush(folder: Path) -> None:
    """Flush the file names in a folder to the disk.

    A flush of a file covers only its content.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(folder: Path) -> None:
    """Create a folder and its parents if they don't exist, durably."""
    if not folder.parent.is_dir():
        _create(folder.parent)
    with contextlib.suppress(FileExistsError):  # exist_ok=True fails if another process removes the folder
        folder.mkdir()
    flush(folder.parent)


def _is_same_file(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the file at `path`."""
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
