"""README and docs as lists of fenced blocks, each with its kind of test."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK: Final = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_NAME: Final = re.compile(r"(?:#|//) (?P<name>[\w./-]+\.\w+)$")
"""The first line of a block that is a file: a comment with only the file's name."""
_UNREAD: Final = "not run: "


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its position, content, and comment; `follows` is True directly after a command."""

    page: Path
    line: int
    language: str
    text: str
    note: str
    follows: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page.name}:{self.line}"

    @property
    def file(self) -> str | None:
        """Name of the file that the block shows; None if it shows none."""
        named = _NAME.match(self.text.partition("\n")[0])
        return named["name"] if named else None

    @property
    def unread(self) -> str | None:
        """Reason why the block isn't run, from a comment above it: `<!-- not run: ... -->`."""
        return self.note.removeprefix(_UNREAD) if self.note.startswith(_UNREAD) else None

    @property
    def kind(self) -> str:
        """How the block is tested; empty if it isn't, which is an error in the page."""
        if self.unread:
            return "unread"
        if self.text.startswith("usage: "):
            return "usage"
        if self.file:
            return "file"
        if self.language in {"json", "csv", "text", ""}:
            return "answer" if self.follows else ""
        return {"sh": "typed", "python": "program", "toml": "configuration", "mermaid": "drawing"}.get(
            self.language, ""
        )


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    return list(_found(page, page.read_text()))


def _found(page: Path, text: str) -> Iterator[Block]:
    ran_until = -1
    for match in _BLOCK.finditer(text):
        between = text[ran_until : match.start()] if ran_until >= 0 else "nothing ran"
        block = Block(
            page=page,
            line=text.count("\n", 0, match.start("language")) + 1,
            language=match["language"],
            text=match["text"],
            note=match["note"] or "",
            follows=not between.strip(),
        )
        ran_until = match.end() if block.kind in {"typed", "program"} else -1
        yield block
