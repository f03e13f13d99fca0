"""ASGI request to body bytes, within the limits: nothing past them is ever held."""

from collections.abc import Collection
from typing import Final

from starlette.requests import ClientDisconnect, Request

from server.errors import Canceled, InvalidArgument, PayloadTooLarge, UnsupportedMediaType

JSON: Final = "application/json"
UNSTATED: Final = frozenset({"", "application/x-www-form-urlencoded"})
"""Content types that state nothing: none at all, and what `curl -d` sends unasked."""


async def read_body(request: Request, max_bytes: int, media_types: Collection[str] = (JSON,)) -> bytes:
    """Return the whole body.

    Raises UnsupportedMediaType for a stated type or encoding that is not known, PayloadTooLarge as soon as the body is
    known to be over `max_bytes` (from its stated length before a byte is read), Canceled where the caller left.
    """
    _check_type(request, media_types)
    stated = request.headers.get("content-length")
    if stated is not None and _length(stated) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    length = 0
    try:
        async for chunk in request.stream():
            chunks.append(chunk)
            length += len(chunk)
            if length > max_bytes:
                raise _too_large(max_bytes)
    except ClientDisconnect:
        raise Canceled("the caller left before its request was whole") from None
    return b"".join(chunks)


def _check_type(request: Request, media_types: Collection[str]) -> None:
    stated = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if stated not in UNSTATED and stated not in media_types:
        raise UnsupportedMediaType(f"content-type: expected {' or '.join(media_types)}; got {stated[:64]!r}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType(f"content-encoding: expected identity; got {encoding[:64]!r}")


def _length(text: str) -> int:
    if not text.isdecimal():
        raise InvalidArgument("content-length: expected a whole number of bytes")
    return int(text)


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"body: expected at most {max_bytes} bytes")
