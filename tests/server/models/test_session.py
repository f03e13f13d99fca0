"""The onnxruntime session with the server's options, for a fraction of a CPU."""

import subprocess
import sys

import pytest

_COUNT = """
import os, threading, time, numpy
def threads(): return len(os.listdir("/proc/self/task")) - threading.active_count()  # Python's own apart
before = threads()
from pathlib import Path
from server.models.repository import Repository
model = Repository.load(Path("models")).resolve()
model.warm()
end = time.monotonic() + 10
while threads() > before and time.monotonic() < end:  # a thread that loaded may not have ended yet
    time.sleep(0.01)
print(threads() - before, os.environ["ORT_DISABLE_TELEMETRY"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc, which only Linux has")
def test_inference_starts_no_thread() -> None:
    """Loading and running a model starts no onnxruntime thread, and telemetry is off."""
    done = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]
