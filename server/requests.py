"""ASGI request to body bytes, within the limits: nothing past them is ever held."""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from starlette.types import Receive, Scope

from server.compression import ENCODINGS, InvalidCompression, decompressed
from server.errors import Canceled, InvalidArgument, PayloadTooLarge, UnsupportedMediaType
from server.replies import JSON

TIMEOUT_HEADER: Final = b"x-request-timeout-ms"
_TIMEOUT_DIGITS: Final = 10
"""As the Connect protocol has it."""
UNSTATED: Final = frozenset({"", "application/x-www-form-urlencoded"})
"""Content types that state nothing: none at all, and what `curl -d` sends unasked."""


async def read_body(scope: Scope, receive: Receive, max_bytes: int, media_types: Collection[str] = (JSON,)) -> bytes:
    """Return the whole body of a request.

    Raises UnsupportedMediaType for a stated type or encoding that is not known, PayloadTooLarge as soon as the body is
    known to be over `max_bytes` (from its stated length before a byte is read), Canceled where the caller left.
    """
    headers = dict(reversed(scope["headers"]))  # of a name given twice, the first counts
    if b"content-type" in headers:
        _check_type(headers, media_types)
    encoding = _encoding(headers) if b"content-encoding" in headers else "identity"
    if b"content-length" in headers and _length(headers) > max_bytes:
        raise _too_large(max_bytes)
    body = await _read(receive, max_bytes)
    return body if encoding == "identity" else _decompressed(body, encoding, max_bytes)


async def _read(receive: Receive, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    length = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Canceled("the caller left before its request was whole")
        chunks.append(message.get("body", b""))
        length += len(chunks[-1])
        if length > max_bytes:
            raise _too_large(max_bytes)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _decompressed(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return what `body` holds, never more than `max_bytes` of it."""
    try:
        document = decompressed(body, encoding, max_bytes)
    except InvalidCompression as error:
        raise InvalidArgument(f"body: {error}") from None
    if document is None:
        raise _too_large(max_bytes)
    return document


def timeout(scope: Scope) -> float | None:
    """Return the seconds that the caller waits by its header X-Request-Timeout-Ms. Raises InvalidArgument."""
    for name, value in scope["headers"]:
        if name == TIMEOUT_HEADER:
            if not value.isdigit() or len(value) > _TIMEOUT_DIGITS:
                raise InvalidArgument(
                    f"x-request-timeout-ms: expected a whole number of at most {_TIMEOUT_DIGITS} digits"
                )
            return int(value) / 1000
    return None


async def left(receive: Receive, tell: Callable[[Exception], None]) -> None:
    """Wait until the caller of a request whose body was read has left, and tell so by Canceled."""
    while (await receive())["type"] != "http.disconnect":
        pass
    tell(Canceled("the caller left before its answer"))


def _check_type(headers: Mapping[bytes, bytes], media_types: Collection[str]) -> None:
    stated = headers[b"content-type"].decode("latin-1").partition(";")[0].strip().lower()
    if stated not in UNSTATED and stated not in media_types:
        raise UnsupportedMediaType(f"content-type: expected {' or '.join(media_types)}; got {stated[:64]!r}")


def _encoding(headers: Mapping[bytes, bytes]) -> str:
    encoding = headers[b"content-encoding"].decode("latin-1").strip().lower()
    if encoding not in ENCODINGS:
        raise UnsupportedMediaType(f"content-encoding: expected {' or '.join(ENCODINGS)}; got {encoding[:64]!r}")
    return encoding


def _length(headers: Mapping[bytes, bytes]) -> int:
    text = headers[b"content-length"].strip()
    if not text.isdigit():
        raise InvalidArgument("content-length: expected a whole number of bytes")
    return int(text)


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"body: expected at most {max_bytes} bytes")
