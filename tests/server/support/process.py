"""The real server as a process: started on a free port, watched through its log, stopped by a signal."""

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
"""After this a process that is waited for in vain is killed, so that a test fails where it would hang."""


class ServerProcess:
    """One `python -m server`. A thread reads its log all the time: a server whose log's pipe is full waits."""

    def __init__(self, **settings: str) -> None:
        """Start it with these environment variables; any free port unless PORT is among them."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIFEBOAT_")}
        self.log: list[str] = []
        """The lines that it has logged."""
        self._seen = 0
        """Lines that `read_until` has passed."""
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
        """Return the next line of the log that holds `words`; fail where the log ends without it."""
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
        """Leave the log unread from now on."""
        self._reads.clear()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    def signal_to_its_end(self, number: int) -> None:
        """Send the process a signal again and again until it has ended."""
        with self._watched():
            while self._process.poll() is None:
                self._process.send_signal(number)

    def end(self) -> int:
        """Wait until the process and its log have ended. Returns the exit code."""
        with self._watched():
            self._reader.join()
            return self._process.wait()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Kill the process where a wait for it lasts too long; one that nobody waits for lives on."""
        watchdog = threading.Timer(HUNG_S, self._process.kill)
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()

    @property
    def text(self) -> str:
        """What the process has logged."""
        return "".join(self.log)


@contextmanager
def serving(**settings: str) -> Iterator[httpx.Client]:
    """Serve with these settings; afterwards SIGTERM must end the server with 0."""
    with ServerProcess(**settings) as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=HUNG_S) as client:
            yield client
        process.signal(signal.SIGTERM)
        assert process.end() == 0, process.text


def connect(client: httpx.Client) -> socket.socket:
    """Open a connection of one's own to the server that `client` calls."""
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=HUNG_S)


def read_response(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one response from a raw connection. Returns its status, its headers in lower case, and its body."""
    with connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        headers = {}
        while line := file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, file.read(int(headers.get("content-length", "0")))
