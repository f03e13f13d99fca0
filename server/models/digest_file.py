"""SHA256SUMS of a version's folder: the digests of its files, in sha256sum(1) format.

`publish` writes it; each load of the version checks the files' bytes against it. `sha256sum -c SHA256SUMS` in the
folder does the same check on the command line.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from server.errors import DigestError
from server.models import regular_file
from server.models.manifest import MANIFEST_FILE, MODEL_FILE

DIGEST_FILE: Final = "SHA256SUMS"
MAX_BYTES: Final = 65_536
_LINE: Final = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_-][A-Za-z0-9._-]{0,254})")


class Digests:
    """Digest of each file of a version, by file name."""

    def __init__(self, files: Mapping[str, str], content: bytes) -> None:
        """Store the digests of `files`, and the digest file's bytes, `content`."""
        self.content = content
        self._files = files

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the files."""
        return iter(self._files)

    def check(self, name: str, content: bytes) -> None:
        """Raise DigestError unless a file's bytes match its digest."""
        got = hashlib.sha256(content).hexdigest()
        if name not in self._files:
            raise DigestError(f"{name}: expected a line for it in {DIGEST_FILE}")
        if got != self._files[name]:
            raise DigestError(f"{name}: expected SHA-256 {self._files[name]}, got {got}")


def encode(files: Mapping[str, bytes]) -> bytes:
    """Return the digest file for `files`, given by name."""
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    return "".join(lines).encode()


def read(folder: Path) -> Digests | None:
    """Return the digests of a version's files; None if its folder has no such file.

    Raises DigestError for a malformed file, or a file without the manifest or the model.
    """
    try:
        content = regular_file.read(folder / DIGEST_FILE, MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DigestError(f"{DIGEST_FILE}: {error.strerror}") from error
    return Digests(_parse(content), content)


def check_all(folder: Path, max_bytes: int) -> None:
    """Raise DigestError unless each file in SHA256SUMS exists and matches, like sha256sum -c."""
    digests = read(folder)
    if digests is None:
        return
    for name in digests:
        try:
            digests.check(name, regular_file.read(folder / name, max_bytes))
        except OSError as error:
            raise DigestError(f"{name}: {error.strerror}") from error


def _parse(content: bytes) -> dict[str, str]:
    files: dict[str, str] = {}
    lines = content.decode("latin-1").split("\n")
    if lines.pop():
        raise DigestError(f"{DIGEST_FILE}: expected a line end after the last line")
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in files:
            raise DigestError(f"{DIGEST_FILE}: line {number}: expected a SHA-256 in hexadecimal and the name of a file")
        files[match[2]] = match[1]
    for name in (MANIFEST_FILE, MODEL_FILE):
        if name not in files:
            raise DigestError(f"{DIGEST_FILE}: expected a line for {name}")
    return files
