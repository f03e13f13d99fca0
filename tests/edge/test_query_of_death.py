"""Tests that requests which hang or end their instance aren't spread over the pool."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import httpx
import pytest

from tests.edge.behaviour import ATTEMPT_S, status, until
from tests.edge.conftest import running
from tests.edge.doors import HASHES, KEY, OTHER
from tests.edge.stack import ROOT, Local, options

DEAD_S: Final = 8
"""DEAD_AFTER_MS in seconds: longer than any stall of these tests."""
STALL_S: Final = 1.2 * ATTEMPT_S
HOSTILE: Final = {"x-api-key": KEY}
GOOD: Final = {"x-api-key": OTHER, "x-request-timeout-ms": "20000"}


@pytest.fixture(scope="module")
def frail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Run the Worker with two instances of a server that a body can stall or end."""
    warm = {"WARM_INSTANCES": 2, "MAX_INSTANCES": 2}
    times = {"ATTEMPT_TIMEOUT_MS": 1000 * ATTEMPT_S, "DEAD_AFTER_MS": 1000 * DEAD_S}
    for local in running(tmp_path_factory.mktemp("frail"), *options(**warm, **times, API_KEYS=HASHES)):
        local.engine.boot(f"exec {sys.executable} {ROOT}/tests/edge/stalling.py")
        yield local


@pytest.fixture
def sound(frail: Local) -> Local:
    """Return the Worker with both instances up and none suspected."""
    assert frail.edge.cron().status_code == 200
    until(frail.edge, lambda seen: all(each["in_flight"] == 0 for each in seen), headers=GOOD)
    assert frail.edge.predict({}, headers=GOOD).status_code == 200
    return frail


def _restarts(local: Local) -> tuple[int, int]:
    return local.engine.starts(), sum(each["restarts"] for each in status(local.edge, headers=GOOD))


def _reached(local: Local, what: str, mark: int) -> int:
    """Return how many instances logged that a request of this kind reached them."""
    return sum(line.startswith(what) for line in local.engine.log.lines[mark:])


@pytest.mark.parametrize("deadline", [{}, {"x-request-timeout-ms": "1200"}])
def test_a_call_that_hangs_an_instance_reaches_no_other(sound: Local, deadline: dict[str, str]) -> None:
    """A request that hung its instance gets the error envelope, and isn't sent to another instance."""
    before, mark = _restarts(sound), len(sound.engine.log.lines)
    response = sound.edge.predict({"stall": STALL_S}, headers=HOSTILE | deadline)
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert response.headers["x-request-id"]
    assert {sound.edge.predict({}, headers=GOOD).status_code for _ in range(20)} == {200}
    assert _restarts(sound) == before
    assert _reached(sound, "stalling", mark) == 1


def test_good_calls_are_answered_beside_calls_that_hang_instances(sound: Local) -> None:
    """Good requests succeed while other requests hang one instance after the other; nothing is restarted."""
    for _ in range(3):  # together with earlier tests, this uses up the client's first requests, which may be retried
        sound.edge.predict({"stall": STALL_S}, headers=HOSTILE)
    before, mark = _restarts(sound), len(sound.engine.log.lines)
    hostile = 4

    def attack(_: int) -> int:
        response = sound.edge.predict({"stall": STALL_S}, headers=HOSTILE)
        sound.engine.log.wait_for(f"recovered {response.headers['x-request-id']}", after=mark)
        return response.status_code

    def call(_: int) -> int:
        return sound.edge.predict({}, headers=GOOD).status_code

    with ThreadPoolExecutor(1) as attackers, ThreadPoolExecutor(4) as callers:
        attacks = [attackers.submit(attack, each) for each in range(hostile)]
        answered: list[int] = []
        while not all(each.done() for each in attacks):
            answered += callers.map(call, range(8))
    assert set(answered) == {200}
    assert {each.result() for each in attacks} == {503}
    assert _restarts(sound) == before
    assert _reached(sound, "stalling", mark) <= hostile + 1  # one retry after a silent instance


def test_a_call_that_ends_instances_ends_two_at_most(sound: Local) -> None:
    """A request that ends its instance is retried once, and then gets the error envelope."""
    mark = len(sound.engine.log.lines)
    response = sound.edge.predict({"exit": 134}, headers=GOOD)
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert _reached(sound, "exiting", mark) == 2
    assert sound.edge.predict({}, headers=GOOD).status_code == 200


def test_an_instance_that_stays_silent_is_restarted(sound: Local) -> None:
    """The readiness check restarts an instance that sends no response for DEAD_AFTER_MS."""
    before = sound.engine.starts()
    with pytest.raises(httpx.ReadTimeout):
        sound.edge.predict({"stall": 600}, headers=HOSTILE, timeout=ATTEMPT_S / 2)
    over = time.monotonic() + 60
    while sound.engine.starts() == before:
        assert time.monotonic() < over
        assert sound.edge.predict({}, headers=GOOD).status_code == 200
    assert len(sound.engine.running()) == 2
