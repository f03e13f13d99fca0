"""Tests of the accounting of process trees, with children and grandchildren."""

import os
import socket
import subprocess
import sys

import pytest

from bench import process_stats

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process trees are read in /proc, which only Linux has")

_BURN = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
_CHILD = (
    f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {_BURN!r}])\nprint('done', flush=True)\ninput()"
)
_NESTED = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "print(1, flush=True); input()"], stdout=subprocess.PIPE)
child.stdout.readline()
print("there", flush=True)
input()
"""


def _spawn(code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def test_a_child_that_ended_counts() -> None:
    """A tree's CPU time includes that of children which have ended."""
    with _spawn(_CHILD) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process_stats.cpu_s(process.pid) >= 0.19
        process.kill()


def test_a_tree_has_its_grandchildren() -> None:
    """A tree includes grandchildren, and its memory exceeds that of the process alone."""
    with _spawn(_NESTED) as process:
        assert process.stdout is not None
        process.stdout.readline()
        family = process_stats.tree(process.pid)
        assert len(family) == 2
        child = (family - {process.pid}).pop()
        assert process_stats.pss_mb(process.pid) > process_stats.pss_mb(child) > 1
        process.kill()
    assert process_stats.tree(process.pid) <= {child}


def test_what_a_process_listens_on() -> None:
    """The ports that a process listens on, and its command line, are found by its process id."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        assert opened.getsockname()[1] in process_stats.listening(os.getpid())
        port = opened.getsockname()[1]
    assert port not in process_stats.listening(os.getpid())
    assert "python" in process_stats.command(os.getpid())
