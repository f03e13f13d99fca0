"""Instances that die, hang and come back under callers who lose no call by it."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import httpx
import pytest

from tests.edge.stack import Local
from tests.passenger import PASSENGER

RATE: Final = 200
"""Calls a second."""
SECONDS: Final = 4
DEADLINE: Final = {"x-request-timeout-ms": "4000"}


@pytest.fixture
def both(pair: Local) -> Iterator[Local]:
    """Return the edge with both of its instances up; what a test has stopped goes on."""
    assert pair.edge.cron().status_code == 200
    assert len(pair.engine.running()) == 2
    yield pair
    for each in pair.engine.running():
        os.kill(each, signal.SIGCONT)


async def _calls(url: httpx.URL, after: Iterator[tuple[int, int]]) -> Counter[int]:
    """Call at the rate for the time, and kill in between: the statuses there were."""

    async def one(http: httpx.AsyncClient) -> int:
        return (await http.post("/api/predict", json=PASSENGER)).status_code

    calls: list[asyncio.Task[int]] = []
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http:
        began = asyncio.get_running_loop().time()
        count, pid = next(after)
        for number in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, began + number / RATE - asyncio.get_running_loop().time()))
            if number == count:
                os.kill(pid, signal.SIGKILL)
                count, pid = next(after, (-1, 0))
            calls.append(asyncio.create_task(one(http)))
        return Counter(await asyncio.gather(*calls))


def test_a_kill_under_load_loses_no_call(both: Local) -> None:
    """Under 200 calls a second an instance that is killed takes no call with it."""
    (pid, _) = both.engine.running()
    statuses = asyncio.run(_calls(both.edge.http.base_url, iter([(RATE, pid)])))
    assert statuses == {200: RATE * SECONDS}


def test_the_death_of_all_under_load_loses_no_call(both: Local) -> None:
    """Nor do both, one after the other: calls wait for the start."""
    after = iter([(RATE, both.engine.running()[0]), (RATE + 1, both.engine.running()[1])])
    statuses = asyncio.run(_calls(both.edge.http.base_url, after))
    assert statuses == {200: RATE * SECONDS}


def test_an_instance_that_hangs_is_left_and_avoided(both: Local) -> None:
    """Who asks an instance that accepts and never answers is answered by another, in time; later calls avoid it."""
    stopped = both.engine.running()[0]
    os.kill(stopped, signal.SIGSTOP)
    mark = len(both.edge.log.lines)
    slowest = 0.0
    while "hung: no answer in 1000 ms" not in "".join(both.edge.log.lines[mark:]):  # asked, by chance and past speed
        began = time.monotonic()
        assert both.edge.predict(headers=DEADLINE).status_code == 200
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 4  # its own deadline, of which the attempt took one second
    asked = {_instance(both.edge.predict(headers=DEADLINE)) for _ in range(20)}
    assert len(asked) == 1


def test_an_instance_that_hangs_is_started_anew(both: Local) -> None:
    """One that doesn't say that it lives is killed and started again."""
    before = both.engine.starts()
    stopped = both.engine.running()[0]
    os.kill(stopped, signal.SIGSTOP)
    with ThreadPoolExecutor(8) as callers:
        statuses = set(callers.map(lambda _: both.edge.predict(headers=DEADLINE).status_code, range(16)))
    assert statuses == {200}
    mark = len(both.edge.log.lines)
    assert both.edge.cron().status_code == 200
    both.edge.log.wait_for(r"warm: inference-0 \d+ ms, inference-1 \d+ ms", after=mark)
    assert stopped not in both.engine.running()
    assert len(both.engine.running()) == 2
    assert both.engine.starts() == before + 1


def test_a_lone_instance_that_hangs_is_replaced_under_its_callers(lone: Local) -> None:
    """Where there is no other, callers without a deadline are answered by the one that takes its place."""
    assert lone.edge.answered().status_code == 200
    (stopped,) = lone.engine.running()
    os.kill(stopped, signal.SIGSTOP)
    with ThreadPoolExecutor(4) as callers:
        statuses = set(callers.map(lambda _: lone.edge.predict().status_code, range(4)))
    assert statuses == {200}
    assert stopped not in lone.engine.running()


def test_a_deadline_is_kept_where_nobody_answers(lone: Local) -> None:
    """A caller whose deadline passes is told so, in time, with the request id."""
    assert lone.edge.answered().status_code == 200
    (stopped,) = lone.engine.running()
    os.kill(stopped, signal.SIGSTOP)
    began = time.monotonic()
    response = lone.edge.predict(headers={"x-request-timeout-ms": "700"})
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert time.monotonic() - began < 3
    assert response.headers["x-request-id"]
    os.kill(stopped, signal.SIGCONT)


def test_two_instances_share_the_load(both: Local) -> None:
    """Calls of many callers go to both instances, about as many to each."""
    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda _: both.edge.predict(), range(400)))
    assert {each.status_code for each in answers} == {200}
    asked = Counter(_instance(each) for each in answers)
    assert set(asked) == {"inference-0", "inference-1"}
    assert min(asked.values()) > 400 // 5


def _instance(response: httpx.Response) -> str:
    (said,) = [part for part in response.headers["server-timing"].split(", ") if part.startswith("instance;")]
    return said.partition('desc="')[2].rstrip('"')
