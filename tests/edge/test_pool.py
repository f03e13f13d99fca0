"""Tests of the pool's growth, shrinking and warm-up, and of `GET /status`."""

import os
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.edge import behaviour
from tests.edge.behaviour import status, until
from tests.edge.conftest import running
from tests.edge.stack import Local, options
from tests.server.support.process import connect


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Run the Worker with a low target load; idle instances sleep when their load is forgotten."""
    folder = tmp_path_factory.mktemp("growing")
    yield from running(folder, *options(MAX_INSTANCES=2, TARGET_UTILISATION=0.4, SLEEP_AFTER="9s"))


def test_status_starts_nothing(cold: Local) -> None:
    """`GET /status` shows the pool and starts no container."""
    response = cold.edge.http.get("/status")
    assert response.status_code == 200
    assert response.json()["regions"][0]["instances"][0]["name"] == "inference-0"
    assert not cold.engine.running()


def test_status_counts_what_an_instance_went_through(lone: Local) -> None:
    """`GET /status` counts starts, requests that waited for them, exits by code, and readiness."""
    assert lone.edge.answered().status_code == 200
    (before,) = status(lone.edge)
    lone.engine.kill(signal.SIGKILL)
    assert lone.edge.answered().status_code == 200
    assert lone.edge.cron().status_code == 200
    (after,) = until(lone.edge, lambda each: each[0]["exits"].get("137", 0) > before["exits"].get("137", 0))
    assert (after["state"], after["starts"]) == ("healthy", before["starts"] + 1)
    assert after["cold_calls"] > before["cold_calls"]
    assert after["start_ms"]["last"] > 0
    assert after["ready"]["status"] == 200
    assert after["here"]["in_flight"] == 0


def test_a_caller_who_leaves_is_counted_no_longer(lone: Local) -> None:
    """Requests of disconnected clients don't count as load, even if the instance never responded."""
    assert lone.edge.answered().status_code == 200
    (stopped,) = lone.engine.running()
    os.kill(stopped, signal.SIGSTOP)
    for _ in range(3):
        with pytest.raises(httpx.ReadTimeout):
            lone.edge.predict(timeout=0.3)
    until(lone.edge, lambda each: each[0]["here"]["in_flight"] == 0)
    assert lone.edge.answered().status_code == 200


def test_a_sender_who_breaks_off_speaks_against_no_instance(lone: Local) -> None:
    """An upload that the client aborts doesn't open the instance's circuit."""
    assert lone.edge.answered().status_code == 200
    head = b"POST /api/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 400000\r\n\r\n"
    for _ in range(4):
        with connect(lone.edge.http) as sender:
            sender.sendall(head + b" " * 100_000)
            until(lone.edge, lambda each: each[0]["here"]["in_flight"] == 1)
        (seen,) = until(lone.edge, lambda each: each[0]["here"]["in_flight"] == 0)
    assert seen["here"]["circuit"] == "closed"


def test_the_pool_grows_under_load_and_shrinks_after(growing: Local) -> None:
    """A second instance joins under load and takes its share; idle, it goes to sleep."""
    behaviour.the_pool_grows_under_load_and_shrinks_after(growing.edge, growing.engine)


def test_a_dead_instance_is_up_again_after_the_cron(lone: Local) -> None:
    """The cron restarts a warm instance that died, and no request waits for it."""
    assert lone.edge.answered().status_code == 200
    lone.engine.kill(signal.SIGKILL)
    assert lone.edge.cron().status_code == 200
    (before,) = status(lone.edge)
    assert lone.edge.predict().status_code == 200
    (after,) = status(lone.edge)
    assert after["cold_calls"] == before["cold_calls"]
