"""Reads of regular files only, of limited size, opened without blocking.

A FIFO, a device or a socket in place of a file could block a reader for ever, or send data without end.
"""

import errno
import hashlib
import os
import stat
import time
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

NOT_REGULAR: Final = "it is not a regular file"
_ROUNDED_NS: Final = 100_000_000
_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)


class Identity(NamedTuple):
    """File status that changes if a file is replaced or written."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @property
    def is_settled(self) -> bool:
        """Whether any later write would change it.

        A file system may round times to some hundredths of a second.
        """
        return time.time_ns() - self.mtime_ns > _ROUNDED_NS


def read(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a file.

    Raises OSError, also if it is not a regular file or has more than `max_bytes`.
    """
    with _open(path, max_bytes) as file:
        content = file.read(os.fstat(file.fileno()).st_size + 1)  # not `max_bytes`: read() would allocate so much
    if len(content) > max_bytes:  # it has grown since fstat
        raise _too_large(len(content), max_bytes)
    return content


def identity(path: Path) -> Identity | None:
    """Return a file's identity; None if it does not exist. Raises other OSErrors."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def digest(path: Path, max_bytes: int) -> str:
    """Return the SHA-256 of a file in hexadecimal. Raises OSError as `read` does."""
    with _open(path, max_bytes) as file:
        sha256 = hashlib.sha256()
        remaining = max_bytes
        while remaining >= 0 and (piece := file.read(1 << 20)):
            sha256.update(piece)
            remaining -= len(piece)
    if remaining < 0:
        raise _too_large(max_bytes - remaining, max_bytes)
    return sha256.hexdigest()


def _open(path: Path, max_bytes: int) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | _NO_WAIT)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR)
        if status.st_size > max_bytes:
            raise _too_large(status.st_size, max_bytes)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _too_large(size: int, max_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f"expected at most {max_bytes} bytes; got {size}")
