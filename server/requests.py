"""ASGI request to body bytes, within the limits: nothing past them is ever held."""

from collections.abc import Callable, Mapping
from typing import Final

from starlette.types import Receive, Scope

from server.errors import Canceled, InvalidArgument, PayloadTooLarge, UnsupportedMediaType

JSON: Final = "application/json"
_JSON_TYPES: Final = frozenset({JSON.encode(), None})
UNSTATED: Final = frozenset({"", "application/x-www-form-urlencoded"})
"""Content types that state nothing: none at all, and what `curl -d` sends unasked."""


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """Return the whole body of a request that brings JSON.

    Raises UnsupportedMediaType for a stated type or encoding that is not known, PayloadTooLarge as soon as the body is
    known to be over `max_bytes` (from its stated length before a byte is read), Canceled where the caller left.
    """
    headers = dict(scope["headers"])
    if headers.get(b"content-type") not in _JSON_TYPES:
        _check_type(headers)
    if b"content-encoding" in headers:
        _check_encoding(headers)
    if b"content-length" in headers and _length(headers) > max_bytes:
        raise _too_large(max_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body", False) and len(body) <= max_bytes:
        return body
    chunks = [body]
    length = len(body)
    while message["type"] == "http.request" and length <= max_bytes and message.get("more_body", False):
        message = await receive()
        chunks.append(message.get("body", b""))
        length += len(chunks[-1])
    if message["type"] != "http.request":
        raise Canceled("the caller left before its request was whole")
    if length > max_bytes:
        raise _too_large(max_bytes)
    return b"".join(chunks)


async def left(receive: Receive, tell: Callable[[Exception], None]) -> None:
    """Wait until the caller of a request whose body was read has left, and tell so by Canceled."""
    while (await receive())["type"] != "http.disconnect":
        pass
    tell(Canceled("the caller left before its answer"))


def _check_type(headers: Mapping[bytes, bytes]) -> None:
    stated = headers[b"content-type"].decode("latin-1").partition(";")[0].strip().lower()
    if stated not in UNSTATED and stated != JSON:
        raise UnsupportedMediaType(f"content-type: expected {JSON}; got {stated[:64]!r}")


def _check_encoding(headers: Mapping[bytes, bytes]) -> None:
    encoding = headers[b"content-encoding"].decode("latin-1").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType(f"content-encoding: expected identity; got {encoding[:64]!r}")


def _length(headers: Mapping[bytes, bytes]) -> int:
    text = headers[b"content-length"]
    if not text.isdigit():
        raise InvalidArgument("content-length: expected a whole number of bytes")
    return int(text)


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"body: expected at most {max_bytes} bytes")
