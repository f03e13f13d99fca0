"""What an answer to a GET says of how long it holds: its tag and its Cache-Control (RFC 9110, 8.8.3; RFC 9111, 5.2)."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import msgspec

from server import VERSION
from server import manifest as manifests
from server.manifest import Manifest
from server.replies import Fields, Headers
from server.signature import Column, Signature

NO_STORE: Final = (b"cache-control", b"no-store")
"""What every failure says: none of them is to be met again where it has passed."""
PINNED: Final = "public, max-age=86400, immutable"
"""Of an answer by a version that its address names, which changes no more than the version does. Not longer than a day:
what is in browsers nobody can take back, and a version that was removed may be published anew under its number."""
_TAG_BYTES: Final = 16


def moving(cache_s: int) -> str:
    """Return the Cache-Control of an answer by whatever version stands there now: for `cache_s` seconds at most."""
    return f"public, max-age={cache_s}, must-revalidate" if cache_s else "no-cache"


class Fresh(msgspec.Struct, frozen=True):
    """The tag of an answer, and for how long it may be kept."""

    tag: str
    cache_control: str

    def fields(self) -> Fields:
        """Return the headers of the answer, and of the 304 in its stead."""
        return ((b"etag", self.tag.encode()), (b"cache-control", self.cache_control.encode()))

    def is_known(self, headers: Headers) -> bool:
        """Return whether the caller has the answer already, by the If-None-Match among a request's headers."""
        return has(b",".join(value for name, value in headers if name == b"if-none-match").decode("latin-1"), self.tag)


def has(if_none_match: str, tag: str) -> bool:
    """Return whether a tag is among those of a caller: RFC 9110, section 13.1.2, by the weak comparison."""
    given = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return tag.removeprefix("W/") in given or given == ["*"]


class Tags:
    """Tags of one model version's answers: the same for the same tensors, however a caller wrote what is in them."""

    def __init__(self, manifest: Manifest, signature: Signature) -> None:
        """Tag answers of the model of `manifest`."""
        self._manifest = manifest
        self._columns = signature.columns

    def tag(self, columns: Sequence[Any], form: str) -> str:
        """Return the strong tag of the answer, written in `form`, to checked values: a column for each feature."""
        digest = self._model.copy()
        digest.update(f"{form} {len(columns[0])} ".encode())
        for column, values in zip(self._columns, columns, strict=True):
            digest.update(_fed(column, values))
        return f'"{digest.hexdigest()}"'

    @cached_property
    def _model(self) -> Any:  # noqa: ANN401 # hashlib's type has no public name
        """All that an answer is made by beside its input: the manifest, with the model's own digest, and this code."""
        return hashlib.blake2b(VERSION.encode() + manifests.encode(self._manifest), digest_size=_TAG_BYTES)


def _fed(column: Column, values: Sequence[Any]) -> bytes:
    """Return what the model is fed for a column, as bytes that no other column's could be taken for."""
    if column.dtype.kind != "O":
        return column.array(values).tobytes()
    null = column.feature.null
    texts = [str(null if value is None else value).encode() for value in values]
    return b"".join(b"%d:%b" % (len(text), text) for text in texts)
