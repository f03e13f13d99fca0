"""Tests of commands in running text and tables: their targets, modules, options and subcommands exist."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.contract.pages import PAGES, ROOT

_FENCED: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_INLINE: Final = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_COMMAND: Final = re.compile(r"(?:^|[\s/])(?P<program>make|python -m|wrangler|npm run) (?P<rest>[\w.-]+[^|]*)$")


def shown() -> dict[str, list[tuple[str, Path]]]:
    """Return the commands of each program on the pages: the words after its name, and the page."""
    found: dict[str, list[tuple[str, Path]]] = {}
    for page in PAGES:
        for span in _INLINE.findall(_FENCED.sub("", page.read_text())):
            if command := _COMMAND.search(span):
                found.setdefault(command["program"], []).append((command["rest"], page))
    return found


SHOWN: Final = shown()


def help_of(*command: str) -> str:
    """Return the help text of a command."""
    done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_programs_are_found() -> None:
    """The pages have commands of each program, so that the tests below check something."""
    assert set(SHOWN) == {"make", "python -m", "wrangler", "npm run"}


def test_make() -> None:
    """Each target of make exists."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for rest, page in SHOWN["make"]:
        assert rest.split()[0] in targets, (rest, page)


def test_npm() -> None:
    """Each npm script exists."""
    scripts = json.loads((ROOT / "package.json").read_text())["scripts"]
    for rest, page in SHOWN["npm run"]:
        assert rest.split()[0] in scripts, (rest, page)


@pytest.mark.parametrize("command", sorted({rest for rest, _ in SHOWN["python -m"]}))
def test_python(command: str) -> None:
    """Each module exists, its help has the subcommand, and the subcommand's help each option."""
    module, *words = command.split()
    assert importlib.util.find_spec(module), command
    options = [word for word in words if word.startswith("--") and word != "--help"]
    subcommands = words[:1] if words and not words[0].startswith("-") else []
    if subcommands:
        assert re.search(rf"\b{subcommands[0]}\b", help_of(sys.executable, "-m", module)), command
    if options:
        told = help_of(sys.executable, "-m", module, *subcommands)
        assert all(option in told for option in options), command


def test_wrangler() -> None:
    """Each subcommand of wrangler exists."""
    told = help_of("scripts/node", "npx", "wrangler")
    for rest, page in SHOWN["wrangler"]:
        assert f"wrangler {rest.split()[0]} " in told, (rest, page)
