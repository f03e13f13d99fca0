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
from server.models.quoting import misspelling_hint, quoted_name
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
        incomplete_lines = [line for line, row in zip(lines, rows, strict=True) if None in row]
        absences: Counter[str] = Counter()
        min_colons = len(self._features) * (len(lines) - len(incomplete_lines))
        for names, number in Counter(map(tuple, _FIELDS.decode_lines(b"\n".join(incomplete_lines)))).items():
            if self._misspelled(names):
                return True
            min_colons += number * len(names)
            for name in self._features.keys() - names:
                absences[name] += number
        if colons(text) == min_colons:
            return False  # each colon follows a name, and no line repeats a name
        for name, needle, in_names in zip(self._features, self._needles, self._in_names, strict=True):
            max_lines = len(lines) - absences[name]
            if text.count(needle) > max_lines and len(in_names.findall(text)) > max_lines:
                return True
        return b"\\" in text and _ESCAPED_NAME.search(text) is not None

    def fault(self, line: bytes, found: Collection[str]) -> tuple[str, str] | None:
        """Return the feature at fault and the message; None for a valid line.

        `found` are the line's names.
        """
        if any(line.count(needle) > 1 for needle in self._needles) or b"\\" in line:
            repeated_name = _repeated_name(line)
            if repeated_name is not None and repeated_name in self._features:
                return repeated_name, f"{quoted_name(repeated_name)}: expected once; it is given more than once"
        return self._misspelled(found)

    def _misspelled(self, found: Collection[str]) -> tuple[str, str] | None:
        """Return the feature that is misspelled in the names `found`, and the message."""
        missing_names = [name for name in self._features if name not in found]
        extra_names = [name for name in found if name not in self._features]
        if missing_names and extra_names and (message := misspelling_hint(extra_names, missing_names)):
            return missing_names[0], f"no such feature{message}"
        return None


def _repeated_name(line: bytes) -> str | None:
    try:
        document = json_errors.parse(line)
    except (ValueError, RecursionError, *MALFORMED):
        return None
    return document.repeated_name if isinstance(document, json_errors.Members) else None
