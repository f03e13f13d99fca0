"""Container image with the limits of a `basic` instance: size, start time, scaling."""

import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Final

import httpx

from bench.load_test import BenchError, Target, send
from bench.measure import free_port
from bench.process_stats import Cores
from bench.targets import BUILD, Call, lifeboat

IMAGE: Final = "lifeboat"
BASIC: Final = ("--cpus", "0.25", "--memory", "1g", "--memory-swap", "1g")
STARTS: Final = 5
INSTANCES: Final = 4
WINDOW_S: Final = 5.0
CONNECTIONS: Final = 8


def measure(rounds: int) -> dict[str, object]:
    """Return the image's size, the wall seconds of its starts, and its scaling.

    Scaling is the throughput of INSTANCES instances relative to one instance.
    """
    cores = Cores.of_this_machine()
    call = lifeboat().calls["lifeboat"]
    size_mb = int(_docker("image", "inspect", "--format", "{{.Size}}", IMAGE)) / 1e6
    starts = [_start(cores, call) for _ in range(STARTS)]
    ratios = []
    for _ in range(rounds):
        one, many = _rate(1, cores, call), _rate(INSTANCES, cores, call)
        ratios.append(many / one)
        print(f"  1 instance {one:.0f}/s, {INSTANCES} instances {many:.0f}/s: {many / one:.2f}", flush=True)
    return {
        "size_mb": round(size_mb),
        "start_wall_s": [round(each, 2) for each in sorted(starts)],
        "instances": INSTANCES,
        "scaling": [round(each, 2) for each in sorted(ratios)],
        "scaling_median": round(statistics.median(ratios), 2),
    }


def _start(cores: Cores, call: Call) -> float:
    """Return the seconds from a container's start to its first correct response."""
    with _container(cores) as (container, port):
        began_s = time.monotonic()
        _docker("start", container)
        _wait_right(port, call)
        return time.monotonic() - began_s


def _rate(instances: int, cores: Cores, call: Call) -> float:
    """Return the total requests per second of `instances` instances, each with its own CPU quota."""
    with ExitStack() as stack:
        ports = []
        for _ in range(instances):
            container, port = stack.enter_context(_container(cores))
            _docker("start", container)
            _wait_right(port, call)
            ports.append(port)
        targets = [Target(0, port, call, cores, BUILD / f"load-{port}") for port in ports]
        with ThreadPoolExecutor(instances) as together:
            sent = together.map(lambda target: send(target, CONNECTIONS, WINDOW_S), targets)
            return sum(len(each.times_us) for each in sent) / WINDOW_S


@contextmanager
def _container(cores: Cores) -> Iterator[tuple[str, int]]:
    """Create a container with a quarter of a CPU on the server's cores.

    It is removed afterwards. It uses the host's network, because the engine's port forwarding would be part of the
    measurement.
    """
    port = free_port()
    where = ",".join(map(str, sorted(cores.server)))
    options = [*BASIC, "--cpuset-cpus", where, "--read-only", "--network", "host"]
    options += ["--env", f"PORT={port}", "--env", "LIFEBOAT_HOST=127.0.0.1"]
    container = _docker("create", *options, IMAGE)
    try:
        yield container, port
    finally:
        _docker("rm", "--force", "--volumes", container)


def _wait_right(port: int, call: Call) -> None:
    deadline_s = time.monotonic() + 60
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < deadline_s:
            try:
                answer = client.post(f"http://127.0.0.1:{port}{call.path}", content=call.body, headers=call.headers)
            except httpx.TransportError:
                time.sleep(0.01)
                continue
            if answer.status_code == 200 and call.is_right(answer.content):
                return
            raise BenchError(f"the container answered {answer.status_code} {answer.text[:200]}")
    raise BenchError("the container gave no answer")


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"docker {arguments[0]}: {done.stderr[-300:]}")
    return done.stdout.strip()
