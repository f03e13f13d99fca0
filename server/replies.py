"""What an answer is made of: a body in JSON, or one of another type with headers of its own."""

from typing import Final, NamedTuple

JSON: Final = "application/json"
OCTET_STREAM: Final = "application/octet-stream"
ANY_BYTES: Final = (JSON, OCTET_STREAM)
"""What the clients of the Open Inference Protocol call a body, JSON alone or with tensors behind it."""


class Reply(NamedTuple):
    """An answer that is not JSON alone."""

    body: bytes
    media_type: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


Body = bytes | Reply
"""Bytes are JSON."""
