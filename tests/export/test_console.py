"""What a command says: a bar on a terminal, plain lines elsewhere, one object for a machine."""

import os
import pty
import sys
import termios

import pytest

from export.console import Console


def _shown(console: Console, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what a terminal as standard error was sent while three items were worked on."""
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 80))
    with os.fdopen(writer, "w") as terminal, os.fdopen(reader, "rb"):
        monkeypatch.setattr(sys, "stderr", terminal)
        assert list(console.track([1, 2, 3], "splits")) == [1, 2, 3]
        terminal.write("\n")
        terminal.flush()
        return os.read(reader, 4096).decode()


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a long step shows how far it is."""
    assert "splits:   0%" in _shown(Console(), monkeypatch)


def test_a_machine_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --json no bar is shown, though there is a terminal."""
    assert _shown(Console(json=True), monkeypatch).strip() == ""


def test_elsewhere_there_are_lines_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Where standard error is no terminal, a long step is its lines alone."""
    console = Console()
    for number in console.track([1, 2], "splits"):
        console.say(f"split {number}")
    console.end()
    said = capsys.readouterr()
    assert (said.out, said.err) == ("split 1\nsplit 2\n", "")
