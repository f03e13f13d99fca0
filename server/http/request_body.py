"""Request bodies of ASGI requests, read within the size limits."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

from starlette.types import Message, Receive, Scope

from server.codecs.compression import ENCODINGS, decompress, decompress_if_small
from server.errors import Canceled, PayloadTooLarge, RequestError, UnsupportedMediaType
from server.http.header_numbers import milliseconds, whole_number
from server.http.held_bytes import HELD, HeldBody
from server.http.message import JSON
from server.models.quoting import quoted

TIMEOUT_HEADER: Final = b"x-request-timeout-ms"
FORM_ENCODED: Final = "application/x-www-form-urlencoded"
UNSPECIFIED: Final = frozenset({"", FORM_ENCODED})
"""Content types that count as unspecified: none, and the default of `curl -d`."""


class ReceivedBody:
    """The body of a request as received."""

    __slots__ = ("_data", "_max_bytes", "encoding", "size")

    def __init__(self, data: bytes, encoding: str, max_bytes: int) -> None:
        """Hold `data` with its content encoding, and limit its decompressed size to `max_bytes`."""
        self._data = data
        self._max_bytes = max_bytes
        self.encoding = encoding
        self.size = len(data)
        """Received bytes, before decompression."""

    def small(self, small_bytes: int) -> bytes | None:
        """Return the decompressed body if it has at most `small_bytes`, else None. Raises InvalidArgument."""
        if self.encoding == "identity":
            return self._data if self.size <= small_bytes else None
        return decompress_if_small(self._data, self.encoding, small_bytes)

    def take(self) -> bytes:
        """Return the decompressed body, and release the received bytes.

        Takes milliseconds. Raises RequestError.
        """
        data, self._data = self._data, b""
        return data if self.encoding == "identity" else decompress(data, self.encoding, self._max_bytes)


async def read_body(scope: Scope, receive: Receive, max_bytes: int, media_types: Collection[str] = (JSON,)) -> bytes:
    """Return the whole decompressed body of a request: see `receive_body`."""
    return (await receive_body(scope, receive, max_bytes, media_types)).take()


async def receive_body(
    scope: Scope,
    receive: Receive,
    max_bytes: int,
    media_types: Collection[str] = (JSON,),
    admit: Callable[[int, str], None] = lambda _length, _encoding: None,
) -> ReceivedBody:
    """Return the whole body of a request as received.

    `admit` gets the content length and encoding before the body is read. The bytes are counted in the request's
    HeldBody. The caller releases it when the body is decoded; the end of the request releases it in any case. Raises:

    - UnsupportedMediaType for an unknown content type or encoding.
    - PayloadTooLarge as soon as the body is known to exceed `max_bytes`: with a content length, before a byte is read.
    - ResourceExhausted if all bodies together exceed the limit of held bytes.
    - Canceled if the client disconnected.
    """
    headers = dict(reversed(scope["headers"]))  # of duplicate names, the first counts
    if b"content-type" in headers:
        _check_type(headers, media_types)
    encoding = _encoding(headers) if b"content-encoding" in headers else "identity"
    if b"content-length" in headers:
        length = whole_number("content-length", headers[b"content-length"])
        if length > max_bytes:
            raise _too_large(max_bytes)
        admit(length, encoding)
    data = await read_whole(receive, scope[HELD], max_bytes, partial(_too_large, max_bytes))
    return ReceivedBody(data, encoding, max_bytes)


async def read_whole(receive: Receive, held: HeldBody, max_bytes: int, too_large: Callable[[], RequestError]) -> bytes:
    """Return a whole body as received, with its bytes counted in `held`.

    Raises the error of `too_large` if it exceeds `max_bytes`; ResourceExhausted if all bodies together exceed the limit
    of held bytes; Canceled if the client disconnected.
    """
    body = bytearray()  # not a list: many small chunks would take many times the memory of their bytes
    more = True
    while more:
        chunk, more = body_chunk(await receive())
        if len(body) + len(chunk) > max_bytes:
            raise too_large()
        held.take(len(chunk))
        body += chunk
    return bytes(body)


def body_chunk(message: Message, what: str = "request") -> tuple[bytes, bool]:
    """Return the body bytes of an ASGI message, and whether more will come.

    Raises Canceled if the client disconnected before `what` was complete.
    """
    if message["type"] != "http.request":
        raise Canceled(f"the client disconnected before the {what} was complete")
    return message.get("body", b""), message.get("more_body", False)


def timeout(scope: Scope) -> float | None:
    """Return the client's timeout in seconds, from X-Request-Timeout-Ms. Raises InvalidArgument."""
    for name, value in scope["headers"]:
        if name == TIMEOUT_HEADER:
            return milliseconds(TIMEOUT_HEADER.decode(), value)
    return None


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has disconnected; call it after the body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _check_type(headers: Mapping[bytes, bytes], media_types: Collection[str]) -> None:
    media_type = headers[b"content-type"].decode("latin-1").partition(";")[0].strip().lower()
    if media_type not in UNSPECIFIED and media_type not in media_types:
        raise UnsupportedMediaType(f"content-type: expected {' or '.join(media_types)}; got {quoted(media_type)}")


def _encoding(headers: Mapping[bytes, bytes]) -> str:
    encoding = headers[b"content-encoding"].decode("latin-1").strip().lower()
    if encoding not in ENCODINGS:
        raise UnsupportedMediaType(f"content-encoding: expected {' or '.join(ENCODINGS)}; got {quoted(encoding)}")
    return encoding


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"body: expected at most {max_bytes} bytes")
