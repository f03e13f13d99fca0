"""Behaviour that every deployment of the Worker shares, with a real container engine or the stand-in."""

import asyncio
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

import httpx

from bench import process_stats
from tests.edge.stack import CALL_S, Edge
from tests.passenger import PASSENGER
from tests.server.support import files
from tests.server.support.files import Record

RATE: Final = 200
"""Requests per second."""
SECONDS: Final = 4
CALLERS: Final = 50
DEADLINE: Final = {"x-request-timeout-ms": "4000"}
ATTEMPT_S: Final = 1
"""ATTEMPT_TIMEOUT_MS of the Worker whose instances hang."""
PATIENCE_S: Final = 60
SHARED_S: Final = 4
"""Seconds to count the requests of two instances. A slow instance is avoided for half a second."""
NEVER_PASSES: Final = [
    ("GET", "/metrics", 404, "not_found"),
    ("GET", "/container/7", 404, "not_found"),
    ("GET", "/api/nothing", 404, "not_found"),
    ("POST", "/healthz", 405, "method_not_allowed"),
    ("DELETE", "/api/predict", 405, "method_not_allowed"),
    ("POST", "/v2/repository/models/titanic/unload", 403, "permission_denied"),
    ("POST", "/v2/repository%2Fmodels/titanic/unload", 403, "permission_denied"),
    ("POST", "/inference.GRPCInferenceService/RepositoryModelUnload", 403, "permission_denied"),
    ("GET", "/api/%ff", 400, "invalid_argument"),
]
"""Method and path of requests that clients may not send, with the expected status and error code."""
NOTE_BYTES: Final = 500
LARGE_ROWS: Final = 100_000
"""Rows of the large file. With a note of `NOTE_BYTES` in each row they are 50 MB."""
SMALL: Final = 20
"""The small file has the first `1 / SMALL` of the large file's bytes."""
HELD_MB: Final = 20
"""Most MB that the runtime's memory may grow by for a file of 50 MB."""


class Engine(Protocol):
    """Runs the instances, each known by its process id or its container."""

    def running(self) -> list[Any]:
        """Return the running instances."""

    def starts(self) -> int:
        """Return how many instances were ever started."""

    def kill(self, number: signal.Signals, *instances: Any) -> None:  # noqa: ANN401 # the type that `running` returns
        """Send a signal to `instances`, or to all running ones; return when each has ended."""

    def pause(self, instance: Any) -> None:  # noqa: ANN401
        """Make an instance accept connections and never respond."""


def instance_of(response: httpx.Response) -> str:
    """Return the name of the instance that responded."""
    (said,) = [part for part in response.headers["server-timing"].split(", ") if part.startswith("instance;")]
    return str(said.partition('desc="')[2].rstrip('"'))


def status(edge: Edge, headers: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the instances in the response of `GET /status`."""
    (region,) = edge.http.get("/status", headers=headers).json()["regions"]
    return list(region["instances"])


def until(
    edge: Edge, done: Callable[[list[dict[str, Any]]], bool], headers: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Poll `GET /status` until `done` accepts its instances; return them."""
    over = time.monotonic() + PATIENCE_S
    while not done(seen := status(edge, headers)):
        assert time.monotonic() < over, seen
        time.sleep(0.1)
    return seen


def cold_callers_share_one_start(edge: Edge, engine: Engine) -> None:
    """Send concurrent requests to a cold pool: one start serves all of them."""
    before = engine.starts()
    with ThreadPoolExecutor(CALLERS) as callers:
        statuses = list(callers.map(lambda _: edge.predict().status_code, range(CALLERS)))
    assert statuses == [200] * CALLERS
    assert engine.starts() == before + 1
    assert len(engine.running()) == 1


def what_never_passes_starts_nothing(edge: Edge, engine: Engine, method: str, path: str, told: tuple[int, str]) -> None:
    """Send a request that clients may not send: it is rejected and starts no container."""
    response = edge.http.request(method, path)
    assert (response.status_code, response.json()["code"]) == told
    assert not engine.running()


async def called(edge: Edge, between: Mapping[int, Callable[[], None]]) -> tuple[Counter[int], float]:
    """Send requests at `RATE` for `SECONDS`; run `between[n]` in a thread just before request `n`.

    Return the statuses with their counts, and the requests per second that were sent.
    """

    async def one(http: httpx.AsyncClient) -> int:
        return (await http.post("/api/predict", json=PASSENGER)).status_code

    tasks: list[asyncio.Task[int]] = []
    acts: list[asyncio.Task[None]] = []
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(base_url=edge.http.base_url, timeout=CALL_S, limits=limits) as http:
        began = asyncio.get_running_loop().time()
        for number in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, began + number / RATE - asyncio.get_running_loop().time()))
            if number in between:
                acts.append(asyncio.create_task(asyncio.to_thread(between[number])))
            tasks.append(asyncio.create_task(one(http)))
        rate = len(tasks) / (asyncio.get_running_loop().time() - began)
        await asyncio.gather(*acts)
        return Counter(await asyncio.gather(*tasks)), rate


def a_kill_under_load_loses_no_call(edge: Edge, engine: Engine, killed: int) -> float:
    """Kill `killed` of two instances in quick succession under load: every request succeeds.

    Return the requests per second that were sent.
    """
    instances = engine.running()
    assert len(instances) == 2
    between = {RATE + each: lambda each=each: engine.kill(signal.SIGKILL, instances[each]) for each in range(killed)}
    statuses, rate = asyncio.run(called(edge, between))
    assert statuses == {200: RATE * SECONDS}
    assert not set(instances[:killed]) & set(engine.running())
    return rate


def a_hung_instance_is_left_and_avoided(edge: Edge, engine: Engine) -> None:
    """Hang an instance: one request gets an error in time; later requests avoid the instance."""
    engine.pause(engine.running()[0])
    mark = len(edge.log.lines)
    slowest = 0.0
    told = []
    while f"hung: no response in {ATTEMPT_S * 1000} ms" not in "".join(edge.log.lines[mark:]):  # reached by chance
        began = time.monotonic()
        told.append(edge.predict(headers=DEADLINE))
        slowest = max(slowest, time.monotonic() - began)
    alone = [each for each in told if each.status_code != 200]  # no retry: it may be what hung it
    assert [(each.status_code, each.json()["code"]) for each in alone] == [(503, "unavailable")]
    assert slowest < 4 * ATTEMPT_S  # the request's own deadline; one attempt took a second of it
    asked = {instance_of(edge.predict(headers=DEADLINE)) for _ in range(20)}
    assert len(asked) == 1


def a_hung_instance_is_started_anew(edge: Edge, engine: Engine) -> None:
    """Hang an instance: it is killed and restarted, while the other instance serves requests.

    Concurrent requests that reached the hung instance are retried on the other one. A request that had the hung
    instance to itself gets 503.
    """
    before = engine.starts()
    hung = engine.running()[0]
    engine.pause(hung)
    with ThreadPoolExecutor(8) as callers:
        statuses = Counter(callers.map(lambda _: edge.predict(headers=DEADLINE).status_code, range(16)))
    assert statuses[200] >= 15
    assert set(statuses) <= {200, 503}
    mark = len(edge.log.lines)
    assert edge.cron().status_code == 200
    edge.log.wait_for(r"warm: inference-0 \d+ ms, inference-1 \d+ ms", after=mark)
    assert hung not in engine.running()
    assert len(engine.running()) == 2
    assert engine.starts() == before + 1


def two_instances_share_the_load(edge: Edge) -> None:
    """Load both instances once neither is avoided: each serves about half of the requests."""

    def are_sound(instances: list[dict[str, Any]]) -> bool:
        return edge.predict().status_code == 200 and all(each["here"]["circuit"] == "closed" for each in instances)

    until(edge, are_sound)
    over = time.monotonic() + SHARED_S

    def call(_: int) -> list[httpx.Response]:
        answers = []
        while time.monotonic() < over:
            answers.append(edge.predict())
        return answers

    with ThreadPoolExecutor(16) as callers:
        answers = [answer for each in callers.map(call, range(16)) for answer in each]
    assert {each.status_code for each in answers} == {200}
    asked = Counter(map(instance_of, answers))
    assert set(asked) == {"inference-0", "inference-1"}
    assert min(asked.values()) > len(answers) / 5, asked


def the_pool_grows_under_load_and_shrinks_after(edge: Edge, engine: Engine) -> None:
    """Load one instance above its target: a second one joins. When idle, both go to sleep."""
    assert edge.answered().status_code == 200
    assert len(engine.running()) == 1
    body = {"records": [PASSENGER] * 250}  # more records would add to the load for longer
    over = time.monotonic() + PATIENCE_S
    served: set[str] = set()
    with ThreadPoolExecutor(4) as callers:
        while len(served) < 2:
            assert time.monotonic() < over, served
            answers = list(callers.map(lambda _: edge.predict(body), range(16)))
            assert {each.status_code for each in answers} == {200}
            served |= set(map(instance_of, answers))
    assert served == {"inference-0", "inference-1"}
    assert len(engine.running()) == 2
    seen = until(edge, lambda each: each[1]["state"] == "asleep" and each[0]["state"] == "asleep")
    assert seen[1]["starts"] >= 1
    assert not engine.running()
    assert edge.predict().status_code == 200
    assert len(engine.running()) == 1


def the_cron_holds_an_instance_awake(edge: Edge, engine: Engine, sleep_after_s: float) -> None:
    """Call the cron beyond the sleep time: the instance stays. Without cron it exits with 0."""
    engine.kill(signal.SIGKILL)
    assert edge.cron().status_code == 200
    first, before = engine.running(), engine.starts()
    over = time.monotonic() + 1.2 * sleep_after_s
    while time.monotonic() < over:
        assert edge.cron().status_code == 200
        time.sleep(2 * sleep_after_s / 3)  # the time between two runs of the cron, shorter than the sleep time
    assert edge.predict().status_code == 200
    assert (engine.running(), engine.starts()) == (first, before)
    exits = status(edge)[0]["exits"].get("0", 0)
    until(edge, lambda each: each[0]["exits"].get("0", 0) == exits + 1)
    assert not engine.running()


def large_file(folder: Path, passengers: list[Record]) -> Path:
    """Write a CSV file of 50 MB; each row has a note that the response repeats."""
    note = b"," + b"n" * (NOTE_BYTES - 1) + b"\n"
    file = folder / "large.csv"
    file.write_bytes(files.csv(passengers, LARGE_ROWS).replace(b"\n", note).replace(note, b",note\n", 1))
    assert file.stat().st_size > 50_000_000
    return file


def a_large_file_takes_no_memory(edge: Edge, file: Path, scored: Path) -> float:
    """Upload a large file and store the response in `scored`: the runtime's memory hardly grows.

    Return by how many MB the peak memory of the runtime's processes exceeds their peak for a small file.
    """
    runtime = [pid for pid in process_stats.tree(edge.log.pid) if _name(pid) == "workerd"]
    assert runtime
    content = file.read_bytes()
    few = content[: content.rindex(b"\n", 0, len(content) // SMALL) + 1]
    assert edge.http.put(files.BATCH, content=few).status_code == 200
    for pid in runtime:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # reset the peak (proc_pid_clear_refs(5))
    before_mb = sum(map(process_stats.peak_mb, runtime))
    url = str(edge.http.base_url.join(files.BATCH))
    command = ["curl", "--silent", "--show-error", "--fail", "--upload-file", str(file), "--output", str(scored), url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    grown_mb = sum(map(process_stats.peak_mb, runtime)) - before_mb
    assert scored.read_bytes().count(b"\n") == LARGE_ROWS + 1
    assert grown_mb < HELD_MB
    return grown_mb


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()
