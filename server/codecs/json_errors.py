"""Find out why JSON is invalid, after decoding failed.

Python's parser accepts input that msgspec rejects: NaN and Infinity, lone surrogates, numbers that exceed every float.
It also shows repeated names. So the error can name the field at fault.
"""

import json
import math
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from typing import Any, Final

import msgspec

from server.codecs.json_types import MALFORMED
from server.models.quoting import NO_SURROGATE, NumberText, has_surrogate, quoted, quoted_name, quoted_value

MAX_REPARSE_BYTES: Final = 256 * 1024
"""Largest document that is parsed again after a failure. Parsing takes about 30 times its bytes in memory."""
_PYTHON_BYTES: Final = 32 * 1024
"""Largest document for Python's parser, which takes about ten times as long as msgspec's."""
_POSITION: Final = re.compile(r"\(byte (\d+)\)")
_NUMBERS: Final = re.compile(rb"-?(?:NaN|Infinity|nan|inf(?:inity)?)\b", re.IGNORECASE)
_LONE_SURROGATE: Final = re.compile(
    rb"(?<!\\)(?:\\\\)*(\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|[c-fC-F][0-9a-fA-F]{2}))"
)
_SURROGATE_PAIR: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_DIGITS: Final = 400
"""Maximum digits of an integer that is computed. Python limits them, and no datatype has more."""


class Members(dict[str, Any]):
    """A JSON object, and the first name that it gives twice."""

    repeated_name: str | None = None


def parse(document: bytes) -> Any:  # noqa: ANN401 # any JSON value
    """Return a document's value; up to _PYTHON_BYTES, accept NaN and other values that JSON lacks.

    Raises ValueError or RecursionError for an invalid document, and for more than SECOND_LOOK_BYTES.
    """
    if len(document) > MAX_REPARSE_BYTES:
        raise ValueError("too large to locate the error")
    if len(document) > _PYTHON_BYTES:
        try:
            return msgspec.json.decode(document)
        except MALFORMED as error:
            raise ValueError(str(error)) from None
    return json.loads(document.decode(), parse_float=NumberText, parse_int=_integer, object_pairs_hook=_members)


def is_invalid_value(value: object) -> bool:
    """Return whether no feature may have this value: not finite, or not valid Unicode."""
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, str) and has_surrogate(value)


def find_invalid_part(document: bytes) -> str | None:
    """Return the path and value of the first part that JSON lacks; None without one."""
    try:
        parts: list[tuple[str, Any]] = [("$", parse(document))]
    except (ValueError, RecursionError):
        return None
    while parts:
        path, value = parts.pop()
        if is_invalid_value(value):
            return f"{path}: got {quoted_value(value)}{NO_SURROGATE * isinstance(value, str)}"
        if isinstance(value, Members) and value.repeated_name is not None:
            return f"{path}: expected each name once; got {quoted(value.repeated_name)} more than once"
        if isinstance(value, dict):
            parts += [(f"{path}.{quoted_name(name)}", each) for name, each in reversed(value.items())]
        elif isinstance(value, list):
            parts += [(f"{path}[{index}]", each) for index, each in reversed([*enumerate(value)])]
    return None


def without_bom(document: bytes) -> bytes | None:
    """Return a document without its single byte order mark; None without one mark."""
    is_marked = document.startswith(BOM_UTF8) and not document.startswith(BOM_UTF8 * 2)
    return document.removeprefix(BOM_UTF8) if is_marked else None


def syntax_error(document: bytes) -> Exception | None:
    """Return the error if a document is not JSON in UTF-8, without building values."""
    try:
        msgspec.json.decode(document, type=msgspec.Raw)
        document.decode()
    except MALFORMED as error:
        return error.with_traceback(None)  # the traceback's frames would hold the document in a reference cycle
    return None


def reason(document: bytes, error: BaseException) -> str:
    """Return why a document can't be decoded.

    The reason comes from a decoder's `error` and the bytes at its position.
    """
    if not document.strip():
        return "it is empty"
    if document.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or b"\0" in document[:2]:
        return "it looks like UTF-16; JSON is UTF-8"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 (byte {_first_not_utf8(document)})"
    return "it is nested too deep" if isinstance(error, RecursionError) else _clearer_message(document, str(error))


def _first_not_utf8(document: bytes) -> int:
    try:
        document.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _clearer_message(document: bytes, message: str) -> str:
    """Return a decoder's message, or a clearer one for NaN, Infinity and surrogates."""
    match = _POSITION.search(message)
    offset = int(match[1]) if match else 0
    if match and (number := _NUMBERS.match(document, max(0, offset - (document[offset - 1 : offset] == b"-")))):
        return f"JSON has no {number[0].decode()} (byte {number.start()})"
    if "truncated" in message and (
        lone_surrogate := _LONE_SURROGATE.search(_SURROGATE_PAIR.sub(b"            ", document))
    ):
        return (
            f"{lone_surrogate[1].decode()} (byte {lone_surrogate.start(1)}) is a lone surrogate: no Unicode character"
        )
    return message


def _integer(text: str) -> int | NumberText:
    return int(text) if len(text) <= _DIGITS else NumberText(text)


def _members(pairs: list[tuple[str, Any]]) -> Members:
    members = Members(pairs)
    if len(members) < len(pairs):
        names: set[str] = set()
        members.repeated_name = next(name for name, _ in pairs if name in names or names.add(name))  # type: ignore[func-returns-value]
    return members
