"""Tests of instances that die, hang and come back, without a request lost."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.edge import behaviour
from tests.edge.behaviour import ATTEMPT_S, status
from tests.edge.stack import Local


@pytest.fixture
def both(pair: Local) -> Iterator[Local]:
    """Return the Worker with both instances up; resume paused instances afterwards."""
    assert pair.edge.cron().status_code == 200
    assert len(pair.engine.running()) == 2
    yield pair
    for each in pair.engine.running():
        os.kill(each, signal.SIGCONT)


def test_a_kill_under_load_loses_no_call(both: Local) -> None:
    """No request fails when one of two instances is killed at 200 requests per second."""
    behaviour.a_kill_under_load_loses_no_call(both.edge, both.engine, killed=1)


def test_the_death_of_all_under_load_loses_no_call(both: Local) -> None:
    """No request fails when both instances are killed one after the other: requests wait for a start."""
    behaviour.a_kill_under_load_loses_no_call(both.edge, both.engine, killed=2)


def test_an_instance_that_hangs_is_left_and_avoided(both: Local) -> None:
    """A hung instance fails at most one request in time; later requests avoid it."""
    behaviour.a_hung_instance_is_left_and_avoided(both.edge, both.engine)


def test_an_instance_that_hangs_is_started_anew(both: Local) -> None:
    """An instance that fails its liveness check is killed and restarted."""
    behaviour.a_hung_instance_is_started_anew(both.edge, both.engine)


def test_a_lone_instance_that_hangs_is_replaced_under_its_callers(lone: Local) -> None:
    """If the only instance hangs, requests without a deadline are served by its replacement."""
    assert lone.edge.answered().status_code == 200
    (stopped,) = lone.engine.running()
    os.kill(stopped, signal.SIGSTOP)
    with ThreadPoolExecutor(4) as callers:
        statuses = set(callers.map(lambda _: lone.edge.predict().status_code, range(4)))
    assert statuses == {200}
    assert stopped not in lone.engine.running()


def test_callers_in_a_hurry_have_a_hung_instance_found_out(lone: Local) -> None:
    """A hung instance is detected and restarted even if every request has a short deadline."""
    assert lone.edge.answered().status_code == 200
    (stopped,) = lone.engine.running()
    os.kill(stopped, signal.SIGSTOP)
    over = time.monotonic() + behaviour.PATIENCE_S
    while stopped in lone.engine.running():
        assert time.monotonic() < over
        assert lone.edge.predict(headers={"x-request-timeout-ms": "200"}).status_code in {503, 504}
    assert lone.edge.answered().status_code == 200


def test_a_deadline_is_kept_where_nobody_answers(lone: Local) -> None:
    """A request gets 504 with its request id when its deadline passes on a hung instance."""
    assert lone.edge.answered().status_code == 200
    (stopped,) = lone.engine.running()
    os.kill(stopped, signal.SIGSTOP)
    began = time.monotonic()
    response = lone.edge.predict(headers={"x-request-timeout-ms": "700"})
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert time.monotonic() - began < 3
    assert response.headers["x-request-id"]
    os.kill(stopped, signal.SIGCONT)


def test_callers_in_a_hurry_have_no_instance_doubted(both: Local) -> None:
    """Requests with impossible deadlines neither mark an instance as hung nor start one."""
    before = both.engine.starts(), [each["hung"] for each in status(both.edge)]
    for ms in ("0", "1", "2", "3") * 3:
        response = both.edge.predict(headers={"x-request-timeout-ms": ms})
        assert response.status_code in {200, 504}
    assert (both.engine.starts(), [each["hung"] for each in status(both.edge)]) == before


def test_a_slow_sender_is_waited_for(both: Local) -> None:
    """A body that arrives slower than the attempt timeout is still served."""

    def body() -> Iterator[bytes]:
        yield b'{"records":['
        time.sleep(1.5 * ATTEMPT_S)  # the slow upload is the condition under test
        yield b"]}"

    response = both.edge.http.post("/api/predict", content=body())
    assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")  # the body has no records


def test_an_instance_that_hangs_under_a_streamed_body_is_started_anew(both: Local) -> None:
    """An instance that hangs under a streamed body is checked and restarted before the request ends."""
    stopped = both.engine.running()
    for each in stopped:
        os.kill(each, signal.SIGSTOP)
    response = both.edge.http.post("/api/predict", content=iter([b"{}"]))
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert len(set(stopped) & set(both.engine.running())) == 1


def test_two_instances_share_the_load(both: Local) -> None:
    """Concurrent requests are spread about evenly over both instances."""
    behaviour.two_instances_share_the_load(both.edge)
