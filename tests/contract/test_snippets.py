"""Every block that README and docs show is run, in its page's order, and its answer is the one shown.

sh        typed in a checkout of the page's own, as a person would; `make run`, `make edge` and `python -m server`
stay, and later blocks call them; 127.0.0.1:8080 is else a server with nothing changed
python    run; a block whose first line is a comment with a file's name, `# iris.py`, `// client.ts`, is that file:
the tree's own to the letter where it has it, else written for the commands behind it
toml      added to wrangler.toml, which wrangler must find good
json, csv, text   directly behind such a block: what that printed, JSON but for white space; in text `...` stands
for anything
usage: .. compared by the tests in HELP
<!-- not run: the reason -->   above a block: what else can't be run here
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.contract.pages import PAGES, ROOT, blocks
from tests.contract.reader import Reader, Shared

HELP: Final = {
    "export.md": "tests/export/test_commands.py",
    "command-line-scoring.md": "tests/server/batch/test_score.py",
}
"""Pages that show a command's help, and the tests that hold them to it."""
MOST_UNREAD: Final = 4
"""Blocks that may say why they can't be run: a page that needs more of them shows what nobody tried."""
RUN: Final = [page for page in PAGES if blocks(page)]


@pytest.fixture(scope="module")
def shared(server: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Yield what pages have in common."""
    with ExitStack() as stack:
        yield Shared(tmp_path_factory.mktemp("shared"), str(server.base_url).rstrip("/"), stack)


def name(page: Path) -> str:
    """Return a page's name in the tree."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", RUN, ids=name)
def test_a_page_is_true(tmp_path: Path, shared: Shared, page: Path) -> None:
    """What the page says to type works, and is answered as it shows."""
    with ExitStack() as stack:
        reader = Reader(tmp_path, shared, stack)
        reader.read_page(page)
    if reader.skipped:
        pytest.skip(f"not run: {', '.join(reader.skipped)}")


def test_what_is_not_run_is_little_and_says_why() -> None:
    """Only a few blocks are not run, each with its reason."""
    unread = {str(block): block.unread for page in PAGES for block in blocks(page) if block.unread}
    assert len(unread) <= MOST_UNREAD, unread


def test_help_is_compared_elsewhere() -> None:
    """A page that shows a command's help is one that a test compares."""
    shows = {block.page.name for page in PAGES for block in blocks(page) if block.kind == "usage"}
    assert shows == set(HELP)
    for page, test in HELP.items():
        assert page in (ROOT / test).read_text()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("```rust\nfn main() {}\n```\n", "nothing runs it"),
        ("```json\n{}\n```\n", "nothing runs it"),
        ("```sh\necho 1\n```\n\nSome words.\n\n```json\n1\n```\n", "nothing runs it"),
        ('```sh\necho \'{"a":1}\'\n```\n\n```json\n{"a": 2}\n```\n', "shows"),
        ("```sh\necho 1.50\n```\n\n```json\n1.5\n```\n", "shows"),
        ("```sh\nfalse\n```\n", "ended with 1"),
        ("```sh\nname=value\n```\n\n```sh\necho $name\n```\n\n```\nother\n```\n", "shows"),
        ("```python\nraise SystemExit(3)\n```\n", "ended with 3"),
        ("```toml\n[no_such_name]\n```\n", "Unexpected fields"),
        ("```toml\n# biome.json\n```\n", "is not biome.json"),
    ],
)
def test_a_wrong_page_fails(tmp_path: Path, shared: Shared, wrong: str, why: str) -> None:
    """A block that nothing runs, that fails, or that shows another answer, fails the page."""
    (tmp_path / "checkout").mkdir()
    page = tmp_path / "page.md"
    page.write_text(wrong)
    with ExitStack() as stack:
        reader = Reader(tmp_path / "checkout", shared, stack)
        with pytest.raises(AssertionError, match=why):
            reader.read_page(page)
