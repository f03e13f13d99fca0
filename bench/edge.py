"""Cost that the Worker and the Durable Object add to a request to the server."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlencode

import httpx

from bench import process_stats
from bench.load_test import BenchError, Target, Window, send, window
from bench.measure import POLL_S, START_S, WARM_S, free_port, serving, stop
from bench.process_stats import Cores
from bench.results import Hop, figure
from bench.targets import BUILD, PASSENGER, ROOT, Call, lifeboat

CONNECTIONS: Final = (1, 16)
"""Numbers of connections: 1 measures latency without queueing, 16 measure CPU per request."""
_POST: Final = lifeboat().calls["lifeboat"]
_GET: Final = Call(f"/api/predict?{urlencode(PASSENGER)}", b"", {}, answer=("probability",))
_CALLS: Final = {
    "direct": ("POST, to the server", _POST),
    "edge": ("POST, through Worker and Durable Object", _POST),
    "alone": ("GET /healthz, by the Worker alone", Call("/healthz", b"", {})),
    "get": ("GET, to the server", _GET),
    "hit": ("GET, kept at the edge", _GET),
}
"""Name of a call to its label and its request. A call to the server comes before the calls compared with it."""
_BESIDE: Final = {"edge": "direct", "alone": "direct", "hit": "get"}
"""Name of a call through the edge to the call that it is compared with."""
_RUNTIME: Final = "--socket-addr=entry=127.0.0.1:"
"""Argument that identifies the runtime process with the Worker. No other process of wrangler has it."""
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Runtime:
    """The Workers runtime with the Worker, and the container engine stand-in behind it."""

    pid: int
    port: int
    engine_pid: int


def measured(rounds: int) -> list[Hop]:
    """Return the cost of calls to the server, through the edge, and from its cache."""
    seen: dict[tuple[str, int], list[Window]] = {}
    cores = Cores.of_this_machine()
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        with serving(lifeboat(), cores) as (pid, port, _), edge(cores) as runtime:
            for (name, connections), found in _round(Target(pid, port, _POST, cores, BUILD), runtime).items():
                seen.setdefault((name, connections), []).append(found)
                print(f"  {name}, {connections}: {found.p50_us:.0f} us, CPU {found.cpu_us:.0f} us", flush=True)
    return [_hop(seen, name) for name in _CALLS]


def _round(server: Target, runtime: Runtime) -> dict[tuple[str, int], Window]:
    targets = {}
    for name, (_, call) in _CALLS.items():
        pid, port = (runtime.pid, runtime.port) if name in _BESIDE else (server.pid, server.port)
        targets[name] = Target(pid, port, call, server.cores, server.folder)
        send(targets[name], 1, WARM_S)
    _see_a_hit(runtime)
    return {
        (name, connections): window(target, connections, beside=runtime.engine_pid if name == "edge" else 0)
        for connections in CONNECTIONS
        for name, target in targets.items()
    }


def _see_a_hit(runtime: Runtime) -> None:
    """Raise BenchError unless a repeated GET gets a correct response from the cache."""
    for _ in range(2):  # h2load sends another Accept header, so that its responses have a cache entry of their own
        answer = httpx.get(f"http://127.0.0.1:{runtime.port}{_GET.path}", trust_env=False)
    if answer.headers.get("lifeboat-cache") != "hit" or not _GET.is_right(answer.content):
        raise BenchError(f"no kept answer but {answer.status_code} {answer.text[:200]}")


def _hop(seen: dict[tuple[str, int], list[Window]], name: str) -> Hop:
    alone, loaded = seen[name, 1], seen[name, CONNECTIONS[-1]]
    beside = _BESIDE.get(name, name)
    pairs = list(zip(alone, seen[beside, 1], strict=True))
    ratios = [each.cpu_us / own.cpu_us for each, own in zip(loaded, seen[beside, CONNECTIONS[-1]], strict=True)]
    return Hop(
        label=_CALLS[name][0],
        p50_ms=figure([each.p50_us / 1000 for each in alone], 3),
        p99_ms=figure([each.p99_us / 1000 for each in alone], 3),
        added_p50_ms=figure([(each.p50_us - own.p50_us) / 1000 for each, own in pairs], 3),
        added_p99_ms=figure([(each.p99_us - own.p99_us) / 1000 for each, own in pairs], 3),
        cpu_us=figure([each.cpu_us for each in loaded], 1),
        ratio=figure(ratios, 3),
        disturbed=figure([each.disturbed for each in (*alone, *loaded)], 3),
    )


@contextmanager
def edge(cores: Cores) -> Iterator[Runtime]:
    """Run the Worker and its instance on the server's core.

    The instance is a process. The runtime is yielded once it responds correctly.
    """
    log = BUILD / "edge.log"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        address = Path(folder, "engine.sock")
        engine = process_stats.spawn(
            [sys.executable, "-m", "tests.edge.engine", str(address)], cores.server, ROOT, {}, log
        )
        settings = {
            "WRANGLER_DOCKER_BIN": str(ROOT / "tests/edge/docker"),
            "WRANGLER_DOCKER_HOST": f"unix://{address}",
            "WRANGLER_SEND_METRICS": "false",
            "CLOUDFLARE_CF_FETCH_ENABLED": "false",
        }
        try:
            _wait(address.exists, log)
            wrangler = process_stats.spawn(_command(folder), cores.server, ROOT, settings, log)
            try:
                pid, port = _wait(lambda: _predicting(wrangler.pid), log)
                yield Runtime(pid, port, engine.pid)
            finally:
                stop(wrangler)
        finally:
            stop(engine)


def _command(state: str) -> list[str]:
    """Return the command of the Workers runtime with one instance.

    Its log level excludes request logs, which would be part of the measurement.
    """
    options = ["--local", "--log-level", "warn", "--port", str(free_port()), "--inspector-port", "0"]
    return ["scripts/node", "npx", "wrangler", "dev", *options, "--var", "MAX_INSTANCES:1", "--persist-to", state]


def _predicting(wrangler: int) -> tuple[int, int] | None:
    """Return the runtime's process and port; None if it does not respond correctly yet.

    wrangler runs two runtimes. The one in front only forwards requests and watches the sources; it is ignored.
    """
    for pid in process_stats.tree(wrangler):
        if _RUNTIME not in process_stats.command(pid):
            continue
        for port in process_stats.listening(pid):
            try:
                answer = httpx.post(
                    f"http://127.0.0.1:{port}{_POST.path}", content=_POST.body, headers=_POST.headers, trust_env=False
                )
            except httpx.TransportError:
                continue
            if answer.status_code == 200 and _POST.is_right(answer.content):
                return pid, port
    return None


def _wait(look: Callable[[], _Found | None], log: Path) -> _Found:
    """Call `look` until it returns a result, and return it. Raises BenchError after START_S."""
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        if found := look():
            return found
        time.sleep(POLL_S)
    raise BenchError(f"the edge didn't come up; the end of its log:\n{log.read_text()[-600:]}")
