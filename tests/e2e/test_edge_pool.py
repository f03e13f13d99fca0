"""The behaviour that tests/edge proves with local processes, with containers of the real image."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.conftest import Real, worker
from tests.edge import behaviour, doors
from tests.edge.stack import options
from tests.server.support.files import Record

SLEEP_AFTER_S: Final = 9
"""Seconds; longer than a load is remembered. Otherwise waking the first instance would wake the second."""
CALLS: Final = 30
"""Requests per minute that one address may send."""


@pytest.fixture
def cold(real: Real) -> Real:
    """Return the Worker with no container running."""
    real.engine.kill(signal.SIGKILL)
    return real


@pytest.fixture(scope="module")
def pair(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:  # noqa: ARG001 # built first
    """Run the Worker with two warm instances and an attempt timeout of one second."""
    times = {"ATTEMPT_TIMEOUT_MS": 1000 * behaviour.ATTEMPT_S, "DEAD_AFTER_MS": 5000}
    given = options(WARM_INSTANCES=2, MAX_INSTANCES=2, **times)
    with worker(tmp_path_factory.mktemp("pair"), "lifeboat-pair", *given) as running:
        yield running


@pytest.fixture
def both(pair: Real) -> Real:
    """Return the Worker with both instances up."""
    assert pair.edge.cron().status_code == 200
    assert len(pair.engine.running()) == 2
    return pair


@pytest.fixture(scope="module")
def sleepy(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:  # noqa: ARG001 # built first
    """Run the Worker with a low target load and a short sleep time."""
    given = options(MAX_INSTANCES=2, TARGET_UTILISATION=0.4, SLEEP_AFTER=f"{SLEEP_AFTER_S}s")
    with worker(tmp_path_factory.mktemp("sleepy"), "lifeboat-sleepy", *given) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:  # noqa: ARG001 # built first
    """Run the Worker with authentication and rate limits."""
    folder = tmp_path_factory.mktemp("guarded")
    given = [*doors.configuration(folder, by_address=CALLS), *options(API_KEYS=doors.HASHES)]
    with worker(folder, "lifeboat-guarded", *given) as running:
        yield running


def test_concurrent_cold_calls_share_one_start(cold: Real) -> None:
    """Fifty concurrent requests to a cold pool succeed with the start of one container."""
    behaviour.cold_callers_share_one_start(cold.edge, cold.engine)


@pytest.mark.parametrize(("method", "path", "status", "code"), behaviour.NEVER_PASSES)
def test_what_never_passes_starts_no_container(cold: Real, method: str, path: str, status: int, code: str) -> None:
    """Model control, metrics and unknown paths are rejected, and start no container."""
    behaviour.what_never_passes_starts_nothing(cold.edge, cold.engine, method, path, (status, code))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing (Debian: curl)")
def test_a_large_file_takes_no_memory(
    real: Real, passengers: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of 50 MB is scored to the last row while the runtime's memory stays flat."""
    file = behaviour.large_file(tmp_path, passengers)
    grown_mb = behaviour.a_large_file_takes_no_memory(real.edge, file, tmp_path / "scored.csv")
    with capsys.disabled():
        print(f"\nfile: the runtime's peak rose by {grown_mb:.1f} MB under {file.stat().st_size / 1e6:.0f} MB")


def test_two_instances_share_the_load(both: Real) -> None:
    """Concurrent requests are spread about evenly over both containers."""
    behaviour.two_instances_share_the_load(both.edge)


@pytest.mark.parametrize("killed", [1, 2])
def test_a_kill_under_load_loses_no_call(both: Real, killed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """No request fails when one or both containers are killed at up to 200 requests per second."""
    rate = behaviour.a_kill_under_load_loses_no_call(both.edge, both.engine, killed)
    with capsys.disabled():
        print(f"\nkilled {killed} of 2 under {rate:.0f} calls a second: every call answered")


def test_a_container_that_hangs_is_left_and_avoided(both: Real) -> None:
    """A frozen container fails at most one request in time; later requests avoid it."""
    behaviour.a_hung_instance_is_left_and_avoided(both.edge, both.engine)


def test_a_container_that_hangs_is_started_anew(both: Real) -> None:
    """A frozen container that fails its liveness check is killed and replaced."""
    behaviour.a_hung_instance_is_started_anew(both.edge, both.engine)


def test_the_pool_grows_under_load_and_shrinks_after(sleepy: Real) -> None:
    """A second container joins under load; idle, both stop; the next request starts one."""
    behaviour.the_pool_grows_under_load_and_shrinks_after(sleepy.edge, sleepy.engine)


def test_the_cron_holds_a_container_awake(sleepy: Real) -> None:
    """The cron keeps a container awake beyond its sleep time; an idle container exits with 0."""
    behaviour.the_cron_holds_an_instance_awake(sleepy.edge, sleepy.engine, SLEEP_AFTER_S)


def test_a_key_is_needed(guarded: Real) -> None:
    """A request without a key, or with a wrong one, is rejected and starts no container."""
    doors.a_key_is_needed(guarded.edge, guarded.engine)


def test_an_address_is_held_to_its_rate(guarded: Real) -> None:
    """A client above the rate limit of its address gets 429 before its key is checked."""
    answers = [guarded.edge.predict(headers={"x-api-key": "guess"}) for _ in range(CALLS + 1)]
    assert {each.status_code for each in answers} == {401, 429}
    last = answers[-1]
    assert (last.json()["code"], int(last.headers["retry-after"]) > 0) == ("resource_exhausted", True)
    assert not guarded.engine.running()
