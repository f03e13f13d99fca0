"""scripts/prose finds banned phrases in docs, docstrings and comments."""

import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
VALE: Final = ROOT / ".build" / "go" / "vale"


def prose(path: Path) -> "subprocess.CompletedProcess[str]":
    """Check one file."""
    return subprocess.run([ROOT / "scripts" / "prose", path], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not VALE.exists(), reason="Vale is built by `make check`, where there are Go and a C compiler")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.md", "A request by the short way.\n"),
        ("module.py", '"""Answer whoever comes."""\n'),
        ("comment.py", "x = 1  # read anew\n"),
        ("worker.ts", "// the last words of a response\nexport const x = 1;\n"),
        ("page.html", "<p>It is read anew.</p>\n"),
    ],
)
def test_a_banned_phrase_is_found(tmp_path: Path, name: str, content: str) -> None:
    """A banned phrase is an error in Markdown, a docstring, a comment and HTML text."""
    path = tmp_path / name
    path.write_text(content)
    found = prose(path)
    assert found.returncode == 1, found
    assert "Lifeboat.Words" in found.stdout
    path.write_text('"""Read the file."""\n' if name.endswith(".py") else "")
    assert prose(path).returncode == 0
