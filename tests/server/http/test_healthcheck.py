"""`python -m server.http.healthcheck`, the health check of the image."""

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
    """The health check exits with 0 if the server is ready."""
    assert _probe(server.base_url.port or 80) == 0


def test_closed_port_fails() -> None:
    """The health check exits with 1 if nothing listens on the port."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert _probe(bound.getsockname()[1]) == 1
