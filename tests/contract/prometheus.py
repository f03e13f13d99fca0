"""A real Prometheus for one test: starts on a free port, and is queried by its API."""

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.server.support.process import HUNG_S, ROOT

DEPLOY: Final = ROOT / "deploy"
SCRAPE: Final = "200ms"


def program(name: str) -> str:
    """Return the path of one of Prometheus's programs; skip the test if it is missing."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing (Debian: prometheus)")
    return found


class Prometheus:
    """A client of Prometheus's API."""

    def __init__(self, client: httpx.Client) -> None:
        """Send queries by `client`."""
        self._client = client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the current samples of a query; fail if the query is invalid."""
        answer = self._client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        found = answer["data"]["result"]
        assert isinstance(found, list)
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule that Prometheus has loaded."""
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def until(self, holds: Callable[[], bool], words: str) -> None:
        """Poll until `holds` returns True; fail with `words` after HUNG_S."""
        end_s = time.monotonic() + HUNG_S
        while not holds():
            assert time.monotonic() < end_s, words


@contextmanager
def scraping(target: httpx.Client, folder: Path) -> Iterator[Prometheus]:
    """Run Prometheus with the deployed configuration and a short scrape interval; store data below `folder`."""
    config = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    config = config.replace("127.0.0.1:8080", target.base_url.netloc.decode())
    config = re.sub(r"(scrape|evaluation)_interval: \w+", rf"\1_interval: {SCRAPE}", config)
    config = config.replace("- alerts.yml", "- " + json.dumps(str(DEPLOY / "prometheus" / "alerts.yml")))
    (folder / "prometheus.yml").write_text(config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [
            program("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(2 * HUNG_S, process.kill)
    watchdog.start()
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "ready to receive web requests" in line:
                break
        else:
            pytest.fail("Prometheus ended before it was ready")
        with httpx.Client(base_url=f"http://{address}", timeout=HUNG_S, trust_env=False) as client:
            yield Prometheus(client)
    finally:
        watchdog.cancel()
        process.terminate()
        process.communicate()
