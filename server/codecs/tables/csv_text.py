"""Rules for nulls and numbers in the text of a CSV file. Imports no library.

The decoders of requests use these rules too.
"""

from typing import Final, NamedTuple

NULLS: Final = frozenset(
    {
        *("NA", "N/A", "n/a", "<NA>", "#N/A", "#N/A N/A", "NULL", "null", "None", "\\N"),
        *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    }
)
"""Spellings of null by R, pandas, spreadsheets and databases. An empty field is always null."""
_NULL_WORDS: Final = frozenset({"null", "none", "nil", "na", "nan", "nd", "missing", "unknown", "undefined", "empty"})
_PUNCTUATION: Final = " \t.,-?*#/\\_<>()[]'\""
POINT: Final = "."
COMMA: Final = ","


class TextFormat(NamedTuple):
    """Rules for nulls and numbers in text."""

    nulls: frozenset[str] = frozenset()
    """Spellings of null in a nullable feature that does not allow them as values. Never used in a feature that allows
    any text.
    """
    stated_nulls: frozenset[str] = frozenset()
    """Spellings that the client stated: null in every feature's column."""
    decimal: str = POINT
    """The decimal separator."""
    null_hint: str = ""
    """How to write null, for the error message about a value that looks like null."""

    def number(self, text: str) -> str:
        """Return a number's text with a decimal point.

        Text with a point becomes invalid if the decimal separator is a comma.
        """
        if self.decimal == POINT:
            return text
        return f"_{text}" if POINT in text else text.replace(COMMA, POINT)


CSV_TEXT: Final = TextFormat(nulls=NULLS, null_hint="; null is an empty field")
"""Rules for CSV if the client states nothing."""
TYPED_TEXT: Final = TextFormat()
"""Rules for text in Arrow and Parquet files. These have real nulls, so no text is null."""


def looks_null(text: str) -> bool:
    """Return whether a value looks like a word for null, or is only punctuation."""
    word = text.lower().translate(str.maketrans("", "", _PUNCTUATION))
    return not word or word in _NULL_WORDS
