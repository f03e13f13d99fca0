"""Which module may import which, and what the server's process never holds."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_import_contracts() -> None:
    """Imports point downward only, as pyproject.toml's contracts have it."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    linted = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout
    assert "0 broken" in linted.stdout


def test_server_holds_no_training_code() -> None:
    """Serving imports nothing that only training needs, directly or through something else."""
    code = (
        "import sys, server.app, server.repository, uvicorn; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    held = set(modules.stdout.split())
    assert {"server", "onnxruntime", "starlette"} <= held
    assert not held & {"export", "sklearn", "skl2onnx", "onnx", "pandas", "scipy"}
