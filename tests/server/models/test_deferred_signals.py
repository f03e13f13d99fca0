"""Signals during an onnxruntime run: the handler's exception is raised after the run."""

import subprocess
import sys
from typing import Final

import pytest

from tests.server.support.process import HUNG_S, ROOT

_PROGRAM: Final = """
import os, signal, sys
import numpy as np
from contextlib import nullcontext
from pathlib import Path
from server.models.deferred_signals import deferred_signals
from server.models.session import Model

class Text(str):
    def __str__(self):  # called by onnxruntime, in the middle of a run
        os.kill(os.getpid(), signal.SIGTERM)
        return "female"

def interrupt(number, frame):
    raise KeyboardInterrupt

model = Model.load(Path("models/titanic/1"))
signal.signal(signal.SIGTERM, interrupt)
columns = model.signature.from_records(model.manifest.golden.records[:1] * 4)
columns["sex"][:, 0] = [Text("x") for _ in range(4)]
try:
    if sys.argv[1] == "model":
        model.run(columns)
    else:
        with deferred_signals() if sys.argv[1] == "deferred" else nullcontext():
            model.run(columns, options=model.limits.begin())
except KeyboardInterrupt:
    print("interrupted")
assert signal.getsignal(signal.SIGTERM) is interrupt
"""


def _run(how: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", _PROGRAM, how]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=HUNG_S)


@pytest.mark.parametrize("how", ["deferred", "model"])
def test_a_handler_that_raises(how: str) -> None:
    """A handler's exception is raised after the run, and the previous handlers are restored."""
    done = _run(how)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_a_handler_that_raises_in_a_run() -> None:
    """Without deferral the handler's exception kills the process; if this fails, onnxruntime may be fixed."""
    assert _run("plain").returncode < 0
