"""Strict decoder for the JSON files that decide which models are served.

It rejects ambiguous input: duplicate keys, NaN and Infinity, bytes that are not UTF-8 and unlimited nesting, also in
members that the type does not have.
"""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def decode(content: bytes, expected: type[T]) -> T:
    """Return `content` decoded as type `expected`. Raises ValueError with the reason."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: byte {error.start}") from None
    try:
        decoded = msgspec.json.decode(content, type=expected)
        json.loads(text, object_pairs_hook=_check_keys, parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    return decoded


def _check_keys(pairs: Sequence[tuple[str, Any]]) -> None:
    keys = set()
    for key, _ in pairs:
        if key in keys:
            raise ValueError(f"the key {key[:64]!r} appears twice")
        keys.add(key)


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
