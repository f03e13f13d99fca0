"""Parse whole numbers in request headers."""

from collections.abc import Iterable
from typing import Final

from server.errors import InvalidArgument

MAX_DIGITS: Final = 18
"""Maximum digits of a byte count, including leading zeros.

Python cannot parse numbers of some thousand digits.
"""
_TIMEOUT_DIGITS: Final = 10


def whole_number(name: str, value: bytes, max_digits: int = MAX_DIGITS) -> int:
    """Return the number in the header `name`.

    Raises InvalidArgument if it is invalid or too long.
    """
    digits = value.strip()
    if not digits.isdigit() or len(digits) > max_digits:
        raise InvalidArgument(f"{name}: expected a whole number of at most {max_digits} digits", field=name)
    return int(digits)


def milliseconds(name: str, value: bytes) -> float:
    """Return the timeout in the header `name` in seconds: at most ten digits of milliseconds, as in Connect.

    Raises InvalidArgument if it is invalid or too long.
    """
    return whole_number(name, value, _TIMEOUT_DIGITS) / 1000


def content_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the content length of a request; 0 if it is missing or invalid."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and len(value) <= MAX_DIGITS:
            return int(value)
    return 0
