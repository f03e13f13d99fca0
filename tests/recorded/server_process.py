"""Start, read and stop the server processes of a checkout."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.recorded.exchange import Address

_START_TIMEOUT_S: Final = 60
_ADDRESS: Final = re.compile(r"http://([\d.]+):(\d+)")
_POLL_S: Final = 0.02
_OWN: Final = ("LIFEBOAT_", "OTEL_")
"""Prefixes of environment variables that no server process inherits."""


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a server: the current one without settings, with `changes`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    return inherited | {"PORT": "0", **changes}


def command() -> list[str]:
    """Return the command that starts the server in the current folder."""
    return [sys.executable, "-m", "server"]


class ServerProcess:
    """One `python -m server` process."""

    def __init__(self, folder: Path, changes: Mapping[str, str], log: Path) -> None:
        """Start the server of the checkout `folder`; its standard error goes to the file `log`."""
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(command(), cwd=folder, env=environment(changes), stderr=file)

    def address(self) -> Address:
        """Return the server's address once it listens. Raises RuntimeError if the server ends first."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while (found := _ADDRESS.search(self.log())) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self.log()}")
            time.sleep(_POLL_S)
        return Address(found[1], int(found[2]))

    def log(self) -> str:
        """Return the server's log."""
        return self._log.read_text(errors="replace")

    def stop(self) -> int:
        """Stop the server. Returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_START_TIMEOUT_S)

    def kill(self) -> None:
        """Kill the server if it still runs."""
        self._process.kill()
        self._process.wait()
