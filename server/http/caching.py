"""HTTP caching of GET responses: ETag and Cache-Control (RFC 9110, 8.8.3; RFC 9111, 5.2)."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

import msgspec

from server import VERSION
from server.http.message import Fields, Headers
from server.models import manifest as manifests
from server.models.manifest import Manifest
from server.models.signature import Column, Signature

NO_STORE: Final = (b"cache-control", b"no-store")
"""Header of every error response: caches must not repeat an error that has passed."""
PINNED_CACHE_CONTROL: Final = "public, max-age=86400, immutable"
"""Cache-Control for a response of a model version that the URL names.

Such a response changes only with the version. The maximum age is one day: responses in browser caches cannot be
revoked, and a removed version may be published again under its number.
"""
_TAG_BYTES: Final = 16


def unpinned_cache_control(cache_s: int) -> str:
    """Return the Cache-Control for a response whose model version can change; `cache_s`: seconds."""
    return f"public, max-age={cache_s}, must-revalidate" if cache_s else "no-cache"


class CacheValidator(msgspec.Struct, frozen=True):
    """The ETag and the Cache-Control of a response."""

    tag: str
    cache_control: str

    def fields(self) -> Fields:
        """Return the headers of the response, and of a 304 response."""
        return ((b"etag", self.tag.encode()), (b"cache-control", self.cache_control.encode()))

    def is_known(self, headers: Headers) -> bool:
        """Return True if the client has the response, by If-None-Match in the request headers."""
        return etag_matches(
            b",".join(value for name, value in headers if name == b"if-none-match").decode("latin-1"), self.tag
        )


def etag_matches(if_none_match: str, tag: str) -> bool:
    """Return True if `tag` matches an If-None-Match value (RFC 9110, 13.1.2, weak comparison)."""
    known_tags = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return tag.removeprefix("W/") in known_tags or known_tags == ["*"]


class Tagged(NamedTuple):
    """Content of a response that is created once, and its ETag."""

    content: bytes
    tag: str


def tagged(content: bytes) -> Tagged:
    """Return content with its strong ETag."""
    return Tagged(content, f'"{hashlib.sha256(content).hexdigest()}"')


class ETagBuilder:
    """ETags for the responses of one model version.

    Equal tensors have equal tags, regardless of how a client encodes them.
    """

    def __init__(self, manifest: Manifest, signature: Signature) -> None:
        """Create tags for responses of the model of `manifest`."""
        self._manifest = manifest
        self._columns = signature.columns

    def tag(self, columns: Sequence[Any], representation: str) -> str:
        """Return the strong ETag of the response, in format `representation`, to validated input columns.

        `columns` has one sequence of values per feature.
        """
        digest = self._model.copy()
        digest.update(f"{representation} {len(columns[0])} ".encode())
        for column, values in zip(self._columns, columns, strict=True):
            digest.update(_column_bytes(column, values))
        return f'"{digest.hexdigest()}"'

    @cached_property
    def _model(self) -> Any:  # noqa: ANN401 # the type in hashlib has no public name
        """Hash of everything except the input that determines a response.

        This is the manifest, which includes the model's digest, and the version of this code.
        """
        return hashlib.blake2b(VERSION.encode() + manifests.encode(self._manifest), digest_size=_TAG_BYTES)


def _column_bytes(column: Column, values: Sequence[Any]) -> bytes:
    """Return the model's input for a column as bytes that are unique to it."""
    if column.dtype.kind != "O":
        return column.array(values).tobytes()
    null = column.feature.null
    encoded_values = [str(null if value is None else value).encode() for value in values]
    return b"".join(b"%d:%b" % (len(text), text) for text in encoded_values)
