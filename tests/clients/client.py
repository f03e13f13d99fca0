"""Runs scripts of public clients, each in its own Python environment, and returns their output."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.server.support.process import serving

ROOT: Final = Path(__file__).parents[2]
TOKEN: Final = "let me in"  # noqa: S105 # the tests' own


def command(client: str, script: str, *arguments: str) -> list[str]:
    """Return the command of a script in the client's environment; skip the test if it isn't installed."""
    python = ROOT / ".build" / "clients" / client / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{client} is not installed; `make test` does it")
    return [str(python), str(Path(__file__).parent / client / script), *arguments]


def told(client: str, script: str, server: httpx.Client, *arguments: str, given: object = None) -> Any:  # noqa: ANN401
    """Run a client's script against `server` with `given` on stdin; return its output. Both are JSON."""
    called = command(client, script, f"{server.base_url.host}:{server.base_url.port}", *arguments)
    done = subprocess.run(called, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def said(client: str, records: list[dict[str, Any]], *arguments: str, script: str = "calls.py", **settings: str) -> Any:  # noqa: ANN401 # JSON
    """Run a client's script against a new server with these settings; return its output."""
    with serving(LIFEBOAT_ADMIN_TOKEN=TOKEN, **settings) as server:
        return told(client, script, server, *arguments, given=records)
