"""Tests of a container's life under the Worker: cold, warm, slow, crashed, killed, asleep."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.edge import behaviour
from tests.edge.conftest import SLEEP_AFTER_S
from tests.edge.stack import Local

SLOW_BOOT_S = 10
"""Seconds; more than the eight that the Container class allows by default."""


@pytest.fixture
def cold(cold: Local) -> Iterator[Local]:
    """Return the Worker with no container running; restore the normal start afterwards."""
    yield cold
    cold.engine.boot(None)
    cold.engine.kill(signal.SIGKILL)


def test_cron_starts_and_checks_an_instance(cold: Local) -> None:
    """The cron starts a cold instance and waits until it is ready."""
    assert cold.edge.cron().status_code == 200
    before = cold.engine.starts()
    assert len(cold.engine.running()) == 1
    assert cold.edge.predict().status_code == 200
    assert cold.engine.starts() == before


def test_cron_fails_when_an_instance_is_not_ready(cold: Local) -> None:
    """The cron fails with the instance's name in the log if the server doesn't start."""
    cold.engine.boot("exit 3")
    mark = len(cold.edge.log.lines)
    assert cold.edge.cron().status_code == 500
    cold.edge.log.wait_for(r"not ready: inference-0: .*503", after=mark)


def test_a_crashing_boot_is_told_as_unavailable(cold: Local) -> None:
    """A start that crashes is 503 with Retry-After and a logged exit code; the next start succeeds."""
    cold.engine.boot("exit 3")
    mark = len(cold.edge.log.lines)
    response = cold.edge.predict()
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert int(response.headers["retry-after"]) > 0
    assert response.headers["x-request-id"]
    cold.edge.log.wait_for(r"start of \w+ failed: .*exit code:? 3", after=mark)
    cold.engine.boot(None)
    assert cold.edge.answered().status_code == 200


def test_a_slow_boot_is_waited_for(cold: Local) -> None:
    """A start slower than the platform's default is waited for, even if its first client disconnected."""
    cold.engine.boot(f'sleep {SLOW_BOOT_S}; exec "$@"')
    before = cold.engine.starts()
    with pytest.raises(httpx.ReadTimeout):
        cold.edge.predict(timeout=1)
    assert cold.edge.predict().status_code == 200
    assert cold.engine.starts() == before + 1


def test_a_killed_instance_is_replaced(cold: Local) -> None:
    """A killed instance is replaced; until then, requests succeed or get a retryable error."""
    assert cold.edge.predict().status_code == 200
    killed = cold.engine.running()
    cold.engine.kill(signal.SIGKILL)
    assert cold.edge.answered().status_code == 200
    assert cold.engine.running() != killed


def test_a_death_under_a_call_is_told_as_unavailable(cold: Local) -> None:
    """If the instance is killed during a request, the client gets 503 with Retry-After."""
    assert cold.edge.predict().status_code == 200

    def body() -> Iterator[bytes]:
        yield b'{"records":[' + b" " * 1_000_000  # larger than any buffer between the client and the server
        cold.engine.kill(signal.SIGKILL)
        yield b"]}"

    response = cold.edge.http.post("/api/predict", content=body())
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert int(response.headers["retry-after"]) > 0


def test_a_stop_under_load_is_clean(cold: Local) -> None:
    """A container stopped under load exits with 0; its requests get 200 or 503."""
    assert cold.edge.predict().status_code == 200
    (server,) = [each for each in cold.engine.servers() if each["State"]["Running"]]
    with ThreadPoolExecutor(8) as callers:
        record = {"pclass": 3, "sex": "male", "sibsp": 0, "parch": 0}
        body = json.dumps({"records": [record] * 10_000}).encode()
        calls = [callers.submit(cold.edge.http.post, "/api/predict", content=body) for _ in range(8)]
        next(iter(calls)).result()
        cold.engine.kill(signal.SIGTERM)
        statuses = {call.result().status_code for call in calls}
    assert cold.engine.ended(server["Name"]) == 0
    assert statuses <= {200, 503}


def test_the_cron_holds_an_instance_awake_and_idleness_ends_it(sleepy: Local) -> None:
    """The cron keeps an instance awake beyond its sleep time; an idle instance exits with 0."""
    behaviour.the_cron_holds_an_instance_awake(sleepy.edge, sleepy.engine, SLEEP_AFTER_S)


def test_a_boot_longer_than_the_sleep_time_is_not_ended(sleepy: Local) -> None:
    """An instance that takes longer to start than its sleep time isn't put to sleep meanwhile."""
    sleepy.engine.kill(signal.SIGKILL)
    sleepy.engine.boot('sleep 6; exec "$@"')
    before = sleepy.engine.starts()
    assert sleepy.edge.predict().status_code == 200
    assert sleepy.engine.starts() == before + 1
    sleepy.engine.boot(None)
