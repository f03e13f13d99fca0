"""The Worker on this machine: wrangler's Workers runtime and a container engine, as subprocesses."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from tests.passenger import PASSENGER

ROOT: Final = Path(__file__).parents[2]
START_S: Final = 60
CALL_S: Final = 60


@dataclass
class Command:
    """A subprocess in its own process group, with its output stored line by line."""

    arguments: list[str]
    environment: Mapping[str, str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the subprocess."""
        self._grown = threading.Condition()
        self._process = subprocess.Popen(
            self.arguments,
            cwd=ROOT,
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Return the process id of the subprocess, the root of its process tree."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._grown:
                self.lines.append(line)
                self._grown.notify_all()

    def wait_for(self, pattern: str, after: int = 0) -> re.Match[str]:
        """Return the first match in the output from line `after` on; fail on a timeout."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, "".join(self.lines[after:]))

        with self._grown:
            match = self._grown.wait_for(found, START_S)
        assert match, f"{self.arguments[0]} never said {pattern!r}:\n{''.join(self.lines)}"
        return match

    def stop(self) -> None:
        """End the process group."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)
            try:
                self._process.wait(10)
                break
            except subprocess.TimeoutExpired:
                continue
        self._reader.join(10)
        if self._process.stdout is not None:
            self._process.stdout.close()


@dataclass
class Edge:
    """A running Worker: `http` is its client, `log` its output and the runtime's."""

    http: httpx.Client
    log: Command

    def predict(self, record: object = PASSENGER, **options: Any) -> httpx.Response:  # noqa: ANN401 # httpx's own options
        """Send one prediction request."""
        return self.http.post("/api/predict", json=record, **options)

    def answered(self) -> httpx.Response:
        """Send a prediction request; retry a few times on 503 with the error envelope."""
        for _ in range(5):
            response = self.predict()
            if response.status_code != 503:
                return response
            assert response.json()["code"] == "unavailable"
            assert int(response.headers["retry-after"]) > 0
        return response

    def cron(self) -> httpx.Response:
        """Run the scheduled handler, as the platform does every two minutes."""
        return self.http.get("/cdn-cgi/handler/scheduled")


@contextmanager
def wrangler_dev(state: Path, docker: str, docker_host: str, *options: str, **environment: str) -> Iterator[Edge]:
    """Run `wrangler dev` on a free port with this container engine; `options` go to its command line."""
    settings = {
        "WRANGLER_DOCKER_BIN": docker,
        "WRANGLER_DOCKER_HOST": docker_host,
        "WRANGLER_SEND_METRICS": "false",
        "CLOUDFLARE_CF_FETCH_ENABLED": "false",
        "NO_COLOR": "1",
    }
    arguments = ["scripts/node", "npx", "wrangler", "dev", "--local", "--port", "0", "--inspector-port", "0"]
    command = Command([*arguments, "--persist-to", str(state), *options], settings | environment)
    try:
        url = command.wait_for(r"Ready on (http://\S+:\d+)")[1]
        with httpx.Client(base_url=url, timeout=CALL_S) as http:
            yield Edge(http, command)
    finally:
        command.stop()


def options(**variables: str | float) -> list[str]:
    """Return the wrangler options that set these variables of the Worker."""
    return [word for name, value in variables.items() for word in ("--var", f"{name}:{value}")]


class Engine:
    """A client of the stand-in engine: its containers, and the command that starts them."""

    def __init__(self, socket: Path, log: Command) -> None:
        """Connect to the engine at this socket; `log` is the output of its servers."""
        self.log = log
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://engine", timeout=CALL_S
        )

    def servers(self) -> list[dict[str, Any]]:
        """Return the server containers, running or not, without the sidecars."""
        return [each for each in self._http.get("/containers/json").json() if each["State"]["Pid"]]

    def running(self) -> list[int]:
        """Return the process ids of the running servers."""
        return [each["State"]["Pid"] for each in self.servers() if each["State"]["Running"]]

    def starts(self) -> int:
        """Return how many servers were ever started."""
        return int(self._http.get("/standin/starts").json())

    def kill(self, number: signal.Signals, *instances: int) -> None:
        """Send a signal to servers by process id, or to all; return when each has ended."""
        for each in [each for each in self.servers() if each["State"]["Running"]]:
            if not instances or each["State"]["Pid"] in instances:
                os.kill(each["State"]["Pid"], number)
                self.ended(each["Name"])

    def pause(self, instance: int) -> None:
        """Make a server accept connections and never respond."""
        os.kill(instance, signal.SIGSTOP)

    def ended(self, name: str) -> int:
        """Wait until a container ends; return its exit code."""
        return int(self._http.post(f"/containers{name}/wait").json()["StatusCode"])

    def boot(self, script: str | None) -> None:
        """Make later starts run this shell script, where "$@" is the server; None restores the server."""
        command = [] if script is None else ["sh", "-c", script, "sh", sys.executable, "-m", "server"]
        self._http.put("/standin/command", json=command).raise_for_status()

    def close(self) -> None:
        """Close the connection to the engine."""
        self._http.close()


@dataclass
class Local:
    """A Worker and the stand-in engine that runs its containers."""

    edge: Edge
    engine: Engine


@contextmanager
def stand_in_engine(folder: Path) -> Iterator[tuple[Engine, str]]:
    """Run the stand-in engine; yield it and its address for wrangler."""
    socket = folder / "engine.sock"
    command = Command([sys.executable, "-m", "tests.edge.engine", str(socket)], {})
    command.wait_for("listening")
    engine = Engine(socket, command)
    try:
        yield engine, f"unix://{socket}"
    finally:
        engine.close()
        command.stop()
