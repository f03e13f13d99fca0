"""docs/architecture.md names existing files and folders, and every package."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "architecture.md").read_text()


def _named(section: str) -> set[str]:
    """Return the paths in backticks in a section."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"`((?:server|export|worker|docs|deploy|tests|bench)/[\w./-]*)`", text))


def test_every_path_exists() -> None:
    """Each path on the page is an existing file or folder."""
    named = {each for section in ("The tree", "Where to change what", "Where to find what") for each in _named(section)}
    assert len(named) > 40
    assert [each for each in sorted(named) if not (ROOT / each).exists()] == []


def test_every_package_is_in_the_tree() -> None:
    """Each package of the exporter, the server and the Worker has a row."""
    roots = [path for root in ("export", "server", "worker") for path in (ROOT / root).iterdir()]
    packages = {path.relative_to(ROOT).as_posix() for path in roots if path.is_dir() and path.name[0] not in "_."}
    assert packages - _named("The tree") == set()


def test_walks_lead_through_files() -> None:
    """Each module in the walks exists in its program's folder."""
    text = PAGE.partition("\n## Walks\n")[2].partition("\n## ")[0]
    modules = set(re.findall(r"`([\w/]+\.(?:py|ts))`", text))
    assert len(modules) > 30
    roots = (ROOT / "server", ROOT / "export", ROOT / "worker")
    unknown = [each for each in sorted(modules) if not any((root / each).exists() for root in roots)]
    short = {"open_inference_codec.py", "app.ts", "index.ts"}
    assert [each for each in unknown if each not in short and not (ROOT / each).exists()] == []


def test_the_glossary_is_sorted() -> None:
    """The glossary's terms are unique and in alphabetical order."""
    terms = re.findall(r"^\| ([^|]+?) \|", PAGE.partition("\n## Glossary\n")[2], re.MULTILINE)[2:]
    assert terms == sorted(set(terms), key=str.lower)
