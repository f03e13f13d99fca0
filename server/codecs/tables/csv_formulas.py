"""Escape CSV text that a spreadsheet would run as a formula (formula injection)."""

import re
from typing import Final

_FORMULA: Final = re.compile(r"[\s\x00-\x1f]*(?:[=@]|[+-](?!\d*\.?\d+(?:[eE][+-]?\d+)?\Z))|[\t\r\n\x00]")


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet may read `text` as a formula.

    A formula begins with = or @, or with a sign that no number follows. Some programs skip a tab or a line break at the
    start. See OWASP, CSV injection.
    """
    return _FORMULA.match(text) is not None


def escape(text: str) -> str:
    """Return text that a spreadsheet shows and does not run.

    A formula gets an apostrophe in front.
    """
    return f"'{text}" if is_formula(text) else text
