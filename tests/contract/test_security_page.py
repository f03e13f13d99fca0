"""Tests that each attack on the security page names an existing test and a documented setting."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "SECURITY.md").read_text()
_ROW: Final = re.compile(r"^\|[^|]+\|[^|]+\|[^|]+\| `(?P<file>[\w/.-]+)::(?P<test>\w+)` \|$", re.MULTILINE)
ATTACKS: Final = list(_ROW.finditer(PAGE))


def test_every_row_of_the_table_is_read() -> None:
    """Each row of the table of attacks has the format that these tests parse."""
    (table,) = re.findall(r"^\| attack \|.*?(?=\n\n)", PAGE, re.MULTILINE | re.DOTALL)
    assert len(ATTACKS) == len(table.splitlines()) - 2 >= 20


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack["test"])
def test_an_attack_names_a_test(attack: re.Match[str]) -> None:
    """The named test exists in the named file."""
    assert re.search(rf"^(async )?def {attack['test']}\(", (ROOT / attack["file"]).read_text(), re.MULTILINE)


def test_every_variable_is_a_setting() -> None:
    """Each variable on the page is on the page of settings."""
    settings = (ROOT / "docs" / "reference" / "settings.md").read_text()
    for name in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", PAGE):
        assert f"`{name}`" in settings, name
