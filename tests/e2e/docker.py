"""The docker commands that the tests of the image use."""

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

BASIC: Final = ("--cpus", "0.25", "--memory", "1g", "--memory-swap", "1g")
"""Limits of the platform's `basic` instance: a quarter of a CPU, 1 GiB of memory."""
WAIT_S: Final = 60


def docker(*arguments: str) -> str:
    """Run a docker command; return its output."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return (done.stdout + done.stderr if arguments[0] == "logs" else done.stdout).strip()


def wait_healthy(container: str) -> None:
    """Wait for the event that the image's health check reports the container healthy."""
    filters = ["--filter", f"container={container}", "--filter", "event=health_status", "--filter", "event=die"]
    created = json.loads(docker("inspect", container))[0]["Created"]
    command = ["docker", "events", "--since", created, *filters, "--format", "{{.Status}}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout is not None
        watchdog = threading.Timer(WAIT_S, events.kill)
        watchdog.start()
        first = next((line.strip() for line in events.stdout if line.strip() != "health_status: unhealthy"), "nothing")
        watchdog.cancel()
        events.terminate()
    assert first == "health_status: healthy", f"the container said {first}:\n{docker('logs', container)}"


@contextmanager
def running(image: str, *options: str) -> Iterator[str]:
    """Run the image detached; remove the container afterwards."""
    container = docker("run", "--detach", *options, image)
    try:
        yield container
    finally:
        docker("rm", "--force", "--volumes", container)


class Docker:
    """The containers that the Workers runtime makes for one Worker, without the sidecars."""

    def __init__(self, worker: str) -> None:
        """Watch the containers of the Worker with this name, from now on."""
        self._name = f"workerd-[0-9a-f]+-{worker}-InferenceContainer-[0-9a-f]+$"
        self._since = time.time()

    def running(self) -> list[str]:
        """Return the ids of the running containers."""
        return docker("ps", "--quiet", "--no-trunc", "--filter", f"name={self._name}").split()

    def starts(self) -> int:
        """Return how many containers started since this object was created."""
        when = ["--since", f"{self._since:.6f}", "--until", f"{time.time():.6f}"]
        names = docker("events", *when, "--filter", "event=start", "--format", "{{.Actor.Attributes.name}}").split()
        return sum(re.match(self._name, name) is not None for name in names)

    def kill(self, number: signal.Signals, *instances: str) -> None:
        """Send a signal to `instances`, or to all. For SIGKILL, return when each has ended."""
        for each in instances or self.running():
            docker("kill", "--signal", number.name, each)

    def pause(self, instance: str) -> None:
        """Freeze all processes of a container: it accepts connections and never responds."""
        docker("pause", instance)
