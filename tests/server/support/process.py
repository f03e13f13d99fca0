"""The real server as a process: started, observed through its log, stopped by a signal."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

ROOT: Final = Path(__file__).parents[3]
HUNG_S: Final = 60
"""Seconds until a hanging process is killed, so that its test fails."""


class ServerProcess:
    """One `python -m server` process.

    A thread always reads its log, because a full pipe blocks the server.
    """

    def __init__(self, **settings: str) -> None:
        """Start the server with these environment variables, on a free port unless PORT is set."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIFEBOAT_")}
        self.log: list[str] = []
        """The log lines so far."""
        self._seen = 0
        """Number of lines that `read_until` has read."""
        self._grown = threading.Condition()
        self._has_ended = False
        self._reads = threading.Event()
        self._reads.set()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "server"],
            cwd=ROOT,
            env=inherited | {"PORT": "0"} | settings,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._reads.wait()
                with self._grown:
                    self.log.append(line)
                    self._grown.notify_all()
        with self._grown:
            self._has_ended = True
            self._grown.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._reads.set()
        self._process.kill()
        self.end()

    def read_until(self, words: str) -> str:
        """Return the next log line that contains `words`; fail if the log ends first."""
        with self._watched(), self._grown:
            while True:
                self._grown.wait_for(lambda: self._has_ended or self._seen < len(self.log))
                if self._seen == len(self.log):
                    raise AssertionError(f"the server ended without saying {words!r}:\n{self.text}")
                line = self.log[self._seen]
                self._seen += 1
                if words in line:
                    return line

    def address(self) -> tuple[str, int]:
        """Wait until the server listens. Returns its host and port."""
        line = self.read_until("Uvicorn running on http://")
        host, _, port = line.partition("http://")[2].split()[0].partition(":")
        return host, int(port)

    def stop_reading(self) -> None:
        """Stop reading the log."""
        self._reads.clear()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    def signal_to_its_end(self, number: int) -> None:
        """Send a signal repeatedly until the process has ended."""
        with self._watched():
            while self._process.poll() is None:
                self._process.send_signal(number)

    def end(self) -> int:
        """Wait until the process and its log have ended, and return the exit code."""
        with self._watched():
            self._reader.join()
            return self._process.wait()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Kill the process if the block takes longer than HUNG_S."""
        watchdog = threading.Timer(HUNG_S, self._process.kill)
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()

    @property
    def text(self) -> str:
        """The log so far."""
        return "".join(self.log)


@contextmanager
def serving(**settings: str) -> Iterator[httpx.Client]:
    """Serve with these settings. On exit, SIGTERM must end the server with exit code 0."""
    with ServerProcess(**settings) as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client:
            yield client
        process.signal(signal.SIGTERM)
        assert process.end() == 0, process.text


def connect(client: httpx.Client) -> socket.socket:
    """Open a new connection to the server of `client`."""
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=HUNG_S)


def read_response(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one response from a socket.

    Returns its status, its headers with lower-case names, and its body.
    """
    with connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        headers = {}
        while line := file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, file.read(int(headers.get("content-length", "0")))
