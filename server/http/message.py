"""Response bodies: JSON bytes, or a body with its own media type and headers."""

from collections.abc import Iterable
from typing import Final, NamedTuple

JSON: Final = "application/json"
OCTET_STREAM: Final = "application/octet-stream"
ANY_BYTES: Final = (JSON, OCTET_STREAM)
"""Content types of Open Inference Protocol clients, for JSON alone or with tensors after it."""


Headers = Iterable[tuple[bytes, bytes]]
"""Request headers: names, in lower case, and values."""

Fields = tuple[tuple[bytes, bytes], ...]
"""Headers or trailers: names, in lower case, and values."""


class HttpResponse(NamedTuple):
    """A response that is not 200 with plain JSON."""

    body: bytes
    media_type: str
    headers: Fields = ()
    status: int = 200
    trailers: Fields = ()
    """Sent after the body, if the connection is HTTP/2 and the client accepts trailers."""


Body = bytes | HttpResponse
"""A response body; bytes are JSON."""
