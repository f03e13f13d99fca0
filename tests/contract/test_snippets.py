"""Run every code block of README and docs in page order, and compare the outputs shown.

How each kind of block is tested:

- `sh`: runs in a checkout of its own for the page. `make run`, `make edge` and `python -m server` continue to run,
  and later blocks send requests to them. Otherwise 127.0.0.1:8080 stands for a server with default settings.
- `python`: runs.
- a block that starts with a comment with only a file's name (`# iris.py`, `// client.ts`): must be identical to the
  tree's file of that name; if there is none, the file is written for later commands.
- `toml`: is added to wrangler.toml, which wrangler must accept.
- `json`, `csv`, `text` directly after such a block: the expected output. JSON may differ in white space; in text,
  `...` stands for anything.
- `usage: ...`: is compared by the tests in HELP.
- a block below `<!-- not run: the reason -->`: is not run.
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
"""Pages that show a command's help, and the tests that compare it."""
MOST_UNREAD: Final = 4
"""Most blocks that may be exempt; on a page with more of them, too much is untested."""
RUN: Final = [page for page in PAGES if blocks(page)]


@pytest.fixture(scope="module")
def shared(server: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Yield the state that pages share."""
    with ExitStack() as stack:
        yield Shared(tmp_path_factory.mktemp("shared"), str(server.base_url).rstrip("/"), stack)


def name(page: Path) -> str:
    """Return a page's path in the tree."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", RUN, ids=name)
def test_a_page_is_true(tmp_path: Path, shared: Shared, page: Path) -> None:
    """The page's commands succeed, with the outputs it shows."""
    with ExitStack() as stack:
        reader = Reader(tmp_path, shared, stack)
        reader.read_page(page)
    if reader.skipped:
        pytest.skip(f"not run: {', '.join(reader.skipped)}")


def test_what_is_not_run_is_little_and_says_why() -> None:
    """Only a few blocks are not run, each with a reason."""
    unread = {str(block): block.unread for page in PAGES for block in blocks(page) if block.unread}
    assert len(unread) <= MOST_UNREAD, unread


def test_help_is_compared_elsewhere() -> None:
    """Each page that shows a command's help is compared by a test."""
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
    """A block of an unknown kind, a failure, or a different output fails the page."""
    (tmp_path / "checkout").mkdir()
    page = tmp_path / "page.md"
    page.write_text(wrong)
    with ExitStack() as stack:
        reader = Reader(tmp_path / "checkout", shared, stack)
        with pytest.raises(AssertionError, match=why):
            reader.read_page(page)
