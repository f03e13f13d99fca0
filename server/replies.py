"""What an answer is made of: a body in JSON, or one of another type with headers of its own."""

from collections.abc import Iterable
from typing import Final, NamedTuple

JSON: Final = "application/json"
OCTET_STREAM: Final = "application/octet-stream"
ANY_BYTES: Final = (JSON, OCTET_STREAM)
"""What the clients of the Open Inference Protocol call a body, JSON alone or with tensors behind it."""


Headers = Iterable[tuple[bytes, bytes]]
"""A request's: names, in lower case, and values."""

Fields = tuple[tuple[bytes, bytes], ...]
"""Names, in lower case, and values of headers or trailers."""


class Reply(NamedTuple):
    """An answer that is not 200 with JSON alone."""

    body: bytes
    media_type: str
    headers: Fields = ()
    status: int = 200
    trailers: Fields = ()
    """Sent after the body, where the connection is HTTP/2 and the caller takes them."""


Body = bytes | Reply
"""Bytes are JSON."""
