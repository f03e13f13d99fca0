"""Tests that the page on column types matches the responses, and that no value is altered."""

import pytest

from tests.contract.types_page import ALTERED, FORMS, PAGE, Case, cases, row

CASES = {case.name: case for case in cases()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_page_says_what_becomes_of_a_type(case: Case) -> None:
    """Every extreme value of a type arrives as the page says.

    `python -m tests.contract.types_page` writes the page.
    """
    cells = row(case)
    assert not any(ALTERED in cell for cell in cells), dict(zip((form.name for form in FORMS), cells, strict=True))
    assert f"| {case.name} | {' | '.join(cells)} |" in PAGE.read_text().splitlines()


def test_no_type_is_on_the_page_alone() -> None:
    """Each row of the page belongs to a tested type."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == [*CASES]
