"""The docker command line, as the tests of the image use it."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

BASIC: Final = ("--cpus", "0.25", "--memory", "1g", "--memory-swap", "1g")
"""The limits of the platform's `basic` instance: a quarter of a CPU, 1 GiB of memory."""
WAIT_S: Final = 60


def docker(*arguments: str) -> str:
    """Run a docker command; return what it printed."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return (done.stdout + done.stderr if arguments[0] == "logs" else done.stdout).strip()


def wait_healthy(container: str) -> None:
    """Wait until the image's own health check calls the container healthy: by its events, nothing is polled."""
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
