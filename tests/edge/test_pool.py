"""The pool as it grows, shrinks and is kept warm, and what `GET /status` shows of it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.edge.conftest import options, running
from tests.edge.stack import Local
from tests.passenger import PASSENGER

PATIENCE_S = 60


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Run the Worker with an instance more under little load; idle ones sleep once their load is long past."""
    folder = tmp_path_factory.mktemp("growing")
    yield from running(folder, *options(MAX_INSTANCES=2, TARGET_UTILISATION=0.4, SLEEP_AFTER="14s"))


def _status(local: Local) -> list[dict[str, Any]]:
    (region,) = local.edge.http.get("/status").json()["regions"]
    return list(region["instances"])


def _until(local: Local, done: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """Return the status once it is so, which other parts of the stack bring about in their own time."""
    until = time.monotonic() + PATIENCE_S
    while not done(status := _status(local)):
        assert time.monotonic() < until, status
        time.sleep(0.1)
    return status


def test_status_starts_nothing(local: Local) -> None:
    """The pool's state is shown without a container being started for it."""
    local.engine.kill(signal.SIGKILL)
    response = local.edge.http.get("/status")
    assert response.status_code == 200
    assert response.json()["regions"][0]["instances"][0]["name"] == "inference-0"
    assert not local.engine.running()


def test_status_counts_what_an_instance_went_through(lone: Local) -> None:
    """Starts, the callers who waited for them, exits by their code and readiness are counted."""
    assert lone.edge.answered().status_code == 200
    (before,) = _status(lone)
    lone.engine.kill(signal.SIGKILL)
    assert lone.edge.answered().status_code == 200
    assert lone.edge.cron().status_code == 200
    (after,) = _until(lone, lambda each: each[0]["exits"].get("137", 0) > before["exits"].get("137", 0))
    assert (after["state"], after["starts"]) == ("healthy", before["starts"] + 1)
    assert after["cold_calls"] > before["cold_calls"]
    assert after["start_ms"]["last"] > 0
    assert after["ready"]["status"] == 200
    assert after["here"]["in_flight"] == 0


def test_a_caller_who_leaves_is_counted_no_longer(lone: Local) -> None:
    """Calls whose callers left are not taken for load, though their instance never answered them."""
    assert lone.edge.answered().status_code == 200
    (stopped,) = lone.engine.running()
    os.kill(stopped, signal.SIGSTOP)
    for _ in range(3):
        with pytest.raises(httpx.ReadTimeout):
            lone.edge.predict(timeout=0.3)
    _until(lone, lambda each: each[0]["here"]["in_flight"] == 0)
    assert lone.edge.answered().status_code == 200


def test_the_pool_grows_under_load_and_shrinks_after(growing: Local) -> None:
    """Under more load than one instance should have a second joins and takes its share; idle, it goes to sleep."""
    assert growing.edge.answered().status_code == 200
    assert len(growing.engine.running()) == 1
    body = {"records": [PASSENGER] * 2_000}
    until = time.monotonic() + PATIENCE_S
    served: set[str] = set()
    with ThreadPoolExecutor(8) as callers:
        while len(served) < 2:
            assert time.monotonic() < until, served
            answers = list(callers.map(lambda _: growing.edge.predict(body), range(16)))
            assert {each.status_code for each in answers} == {200}
            served |= {each.headers["server-timing"].partition('desc="')[2].partition('"')[0] for each in answers}
    assert served == {"inference-0", "inference-1"}
    assert len(growing.engine.running()) == 2
    status = _until(growing, lambda each: each[1]["state"] == "asleep" and each[0]["state"] == "asleep")
    assert status[1]["starts"] >= 1
    assert not growing.engine.running()
    assert growing.edge.predict().status_code == 200
    assert len(growing.engine.running()) == 1


def test_no_cold_gap_opens_between_two_crons(sleepy: Local) -> None:
    """Callers who come at any time between two crons, each within the sleep time, find the instance awake."""
    assert sleepy.edge.cron().status_code == 200
    before = sleepy.engine.starts()
    for _ in range(4):
        time.sleep(2)  # the time between two crons, of which the sleep time is three
        assert sleepy.edge.cron().status_code == 200
    response = sleepy.edge.predict()
    assert response.status_code == 200
    assert sleepy.engine.starts() == before


def test_a_dead_instance_is_up_again_after_the_cron(lone: Local) -> None:
    """A warm instance that died is started by the cron, and no caller waits for it."""
    assert lone.edge.answered().status_code == 200
    lone.engine.kill(signal.SIGKILL)
    assert lone.edge.cron().status_code == 200
    (before,) = _status(lone)
    assert lone.edge.predict().status_code == 200
    (after,) = _status(lone)
    assert after["cold_calls"] == before["cold_calls"]
