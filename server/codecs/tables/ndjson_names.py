"""Check the names in NDJSON lines: repeated names, and near misses of nullable features.

Lines may have other fields than features, so the decoder reports neither fault. It would use the last of two values,
and null for a feature whose name is misspelled.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from server.codecs import json_errors
from server.codecs.json_types import MALFORMED
from server.codecs.repeated_names import RepeatedNames, colons
from server.models.quoting import misspelled, quoted_name
from server.models.signature import Signature

_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ESCAPED_NAME: Final = re.compile(rb'\\.[^"\\]*"\s*:')
"""A name with an escape. It may be a feature's, but a search for the feature's name does not find it."""


class LineNames:
    """Checker of the names in lines against one signature."""

    def __init__(self, signature: Signature) -> None:
        """Check only names of features."""
        self._features = signature.by_name
        self._needles = RepeatedNames(signature).needles
        self._in_names = [re.compile(re.escape(needle) + rb"\s*:") for needle in self._needles]

    def may_be_wrong(self, lines: Sequence[bytes], text: bytes, rows: Sequence[Sequence[object]]) -> bool:
        """Return whether one of the `lines` may be at fault.

        `text` is the lines joined; `rows` are their decoded values. A line needs a search only in two cases. A
        misspelled feature is null in its row. A repeated name occurs more often in the text than in the lines that have
        it.
        """
        lacking = [line for line, row in zip(lines, rows, strict=True) if None in row]
        absent: Counter[str] = Counter()
        least = len(self._features) * (len(lines) - len(lacking))
        for names, number in Counter(map(tuple, _FIELDS.decode_lines(b"\n".join(lacking)))).items():
            if self._misspelled(names):
                return True
            least += number * len(names)
            for name in self._features.keys() - names:
                absent[name] += number
        if colons(text) == least:
            return False  # each colon follows a name, and no line repeats a name
        for name, needle, in_names in zip(self._features, self._needles, self._in_names, strict=True):
            most = len(lines) - absent[name]
            if text.count(needle) > most and len(in_names.findall(text)) > most:
                return True
        return b"\\" in text and _ESCAPED_NAME.search(text) is not None

    def fault(self, line: bytes, found: Collection[str]) -> tuple[str, str] | None:
        """Return the feature at fault and the message; None for a valid line.

        `found` are the line's names.
        """
        if any(line.count(needle) > 1 for needle in self._needles) or b"\\" in line:
            twice = _twice(line)
            if twice is not None and twice in self._features:
                return twice, f"{quoted_name(twice)}: expected once; it is given more than once"
        return self._misspelled(found)

    def _misspelled(self, found: Collection[str]) -> tuple[str, str] | None:
        """Return the feature that is misspelled in the names `found`, and the message."""
        absent = [name for name in self._features if name not in found]
        others = [name for name in found if name not in self._features]
        if absent and others and (words := misspelled(others, absent)):
            return absent[0], f"no such feature{words}"
        return None


def _twice(line: bytes) -> str | None:
    try:
        found = json_errors.parse(line)
    except (ValueError, RecursionError, *MALFORMED):
        return None
    return found.twice if isinstance(found, json_errors.Members) else None
