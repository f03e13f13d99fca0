"""Tests of the exporter's output: a progress bar on a terminal, plain lines elsewhere, JSON with --json."""

import os
import pty
import sys
import termios

import pytest

from export.console import Console


def _shown(console: Console, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the output on a terminal during a step with three items."""
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 80))
    with os.fdopen(writer, "w") as terminal, os.fdopen(reader, "rb"):
        monkeypatch.setattr(sys, "stderr", terminal)
        assert list(console.track([1, 2, 3], "splits")) == [1, 2, 3]
        terminal.write("\n")
        terminal.flush()
        return os.read(reader, 4096).decode()


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a long step shows its progress."""
    assert "splits:   0%" in _shown(Console(), monkeypatch)


def test_a_machine_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --json no progress bar is shown, even on a terminal."""
    assert _shown(Console(json=True), monkeypatch).strip() == ""


def test_elsewhere_there_are_lines_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal a long step prints only its lines."""
    console = Console()
    for number in console.track([1, 2], "splits"):
        console.print_line(f"split {number}")
    console.end()
    said = capsys.readouterr()
    assert (said.out, said.err) == ("split 1\nsplit 2\n", "")
