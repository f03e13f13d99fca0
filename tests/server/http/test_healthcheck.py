"""`python -m server.http.healthcheck`: the image's health check."""

import os
import socket
import subprocess
import sys

import httpx

from tests.server.support.process import ROOT


def _probe(port: int) -> int:
    command = [sys.executable, "-m", "server.http.healthcheck"]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"PORT": str(port)}, check=False).returncode


def test_ready_server_passes(server: httpx.Client) -> None:
    """The probe ends with 0 where the server is ready."""
    assert _probe(server.base_url.port or 80) == 0


def test_closed_port_fails() -> None:
    """The probe ends with 1 where nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert _probe(bound.getsockname()[1]) == 1
