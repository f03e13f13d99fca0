"""Quoting of client values and names in error messages: every character visible, length limited."""

import json
import math
import re
import unicodedata
from collections.abc import Iterable
from numbers import Real
from typing import Final, Self

MAX_CHARACTERS: Final = 40
"""Maximum characters of one value in a message."""
_MAX_NAMES_CHARACTERS: Final = 200
"""Maximum characters of a list of names."""
_MAX_BITS: Final = 1024
"""Maximum bits of an integer that is written out: Python rejects very long ones."""
_MAX_PAIRS: Final = 4
"""Maximum pairs of given and expected names in a message."""
_LITERAL: Final = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""JSON values that are written without quotes (RFC 8259, sections 3 and 6)."""
_MARKS: Final = frozenset('":\\')
"""Characters that separate a name from the rest of a message."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
NO_SURROGATE: Final = ": a lone surrogate is no Unicode character"


class NumberText(float):
    """A number with its original text."""

    text: str

    def __new__(cls, text: str) -> Self:
        """Return the number in `text`; infinite if it exceeds every float."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __str__(self) -> str:
        """Return the number's original text."""
        return self.text


def has_surrogate(text: str) -> bool:
    """Return whether a text contains a lone surrogate.

    JSON can escape one, UTF-8 can't encode it.
    """
    return _SURROGATE.search(text) is not None


def is_literal(text: str) -> bool:
    """Return whether a text is an unquoted JSON value: a number, true, false or null."""
    return _LITERAL.fullmatch(text) is not None


def quoted(text: str, characters: int = MAX_CHARACTERS) -> str:
    """Return a text as a JSON string, cut to `characters` characters.

    Invisible characters are escaped.
    """
    json_text = json.dumps(text[:characters], ensure_ascii=False)
    if not json_text.isprintable():
        json_text = "".join(each if each.isprintable() else _escaped(each) for each in json_text)
    return json_text + "..." * (len(text) > characters)


def quoted_value(value: object) -> str:
    """Return any value as JSON: strings quoted, other values bare."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bytes):
        return quoted(value.decode(errors="backslashreplace"))
    if isinstance(value, NumberText):
        text = value.text
    elif isinstance(value, int) and value.bit_length() > _MAX_BITS:
        text = f"an integer of {value.bit_length()} bits"
    elif isinstance(value, Real) and not isinstance(value, int) and not math.isfinite(value):
        text = json.dumps(float(value))
    else:
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError):  # a date, a decimal or a numpy number
            text = str(value)
    return shortened_json(text)


def shortened_json(text: str) -> str:
    """Return JSON text, cut to SHOWN_CHARACTERS; invisible characters are escaped."""
    prefix = text[:MAX_CHARACTERS]
    if not prefix.isprintable():
        prefix = "".join(each if each.isprintable() else _escaped(each) for each in prefix)
    return prefix + "..." * (len(text) > MAX_CHARACTERS)


def cell_value(text: str, *, is_string: bool) -> str | NumberText:
    """Return a text cell's value for `quoted_value`: a number if expected and valid."""
    return NumberText(text) if not is_string and text[-1:].isdigit() and is_literal(text) else text


def quoted_name(text: str) -> str:
    """Return a name for the start of a message, quoted only if necessary.

    A name is bare if every character is visible.
    """
    is_plain = text.isprintable() and text == " ".join(text.split()) and not _MARKS.intersection(text)
    return text if is_plain and 0 < len(text) <= MAX_CHARACTERS else quoted(text)


def field_name(text: str) -> str:
    """Return a name for the `field` of an error: unquoted, cut, and valid UTF-8."""
    return text[:MAX_CHARACTERS].encode(errors="backslashreplace").decode()


def quoted_names(texts: Iterable[str], characters: int = _MAX_NAMES_CHARACTERS) -> str:
    """Return a list of quoted names; names over the limit of `characters` are only counted."""
    quoted_texts: list[str] = []
    length = omitted = 0
    for text in texts:
        each = quoted(text)
        if omitted or (quoted_texts and length + len(each) > characters):
            omitted += 1
            continue
        quoted_texts.append(each)
        length += len(each) + 2
    return ", ".join(quoted_texts) + (f" and {omitted} more" if omitted else "")


def difference(name: str, known: Iterable[str]) -> str:
    """Return the Unicode difference of a text from a similar known text.

    It is the end of a message; empty if no known text is similar.
    """
    for other in known:
        if name == other:
            continue
        if _canonical(name) == _canonical(other):
            forms = f"{_normal_form(name)}, expected {_normal_form(other)}"
            return f": {quoted(name)} has the characters of {quoted(other)} in another Unicode form ({forms})"
    return ""


def spelling_hint(name: str, known: Iterable[str]) -> str:
    """Return the known name that differs only in case, blanks or Unicode form.

    The result ends a message.
    """
    return misspelling_hint([name], [other for other in known if other != name])


def misspelling_hint(names_given: Iterable[str], missing: Iterable[str]) -> str:
    """Return the pairs of given and missing names that differ only in spelling details.

    These are case, blanks and Unicode form. The result ends a message.
    """
    by_key: dict[str, list[str]] = {}
    for name in names_given:
        by_key.setdefault(_key(name), []).append(name)
    similar = [(given_name, name) for name in missing for given_name in by_key.get(_key(name), ())]
    if any(_canonical(given_name) == _canonical(name) for given_name, name in similar):
        given_name, name = next(pair for pair in similar if _canonical(pair[0]) == _canonical(pair[1]))
        return difference(given_name, [name])
    pairs = ", ".join(f"{quoted(given_name)} is not {quoted(name)}" for given_name, name in similar[:_MAX_PAIRS])
    return f"; {pairs}: letter case and spaces matter" if similar else ""


def _canonical(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _key(text: str) -> str:
    return _canonical(text).strip().casefold()


def _normal_form(text: str) -> str:
    """Return the name of a text's Unicode normalization form (UAX 15)."""
    return next((form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, text)), "neither NFC nor NFD")


def _escaped(character: str) -> str:
    code = ord(character)
    if code > 0xFFFF:
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"
