"""What tests/edge shows with local processes, with containers of the real image: cold, killed, hung, many, asleep."""

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
"""Longer than a load is remembered: who wakes the first instance would wake the second one too."""
CALLS: Final = 30
"""That an address may make in a minute."""


@pytest.fixture
def cold(real: Real) -> Real:
    """Return the edge with no container running."""
    real.engine.kill(signal.SIGKILL)
    return real


@pytest.fixture(scope="module")
def pair(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:  # noqa: ARG001 # built before
    """Run the Worker with two warm instances, whose answers it doesn't wait for longer than a second."""
    times = {"ATTEMPT_TIMEOUT_MS": 1000 * behaviour.ATTEMPT_S, "DEAD_AFTER_MS": 5000}
    given = options(WARM_INSTANCES=2, MAX_INSTANCES=2, **times)
    with worker(tmp_path_factory.mktemp("pair"), "lifeboat-pair", *given) as running:
        yield running


@pytest.fixture
def both(pair: Real) -> Real:
    """Return the edge with both of its instances up."""
    assert pair.edge.cron().status_code == 200
    assert len(pair.engine.running()) == 2
    return pair


@pytest.fixture(scope="module")
def sleepy(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:  # noqa: ARG001 # built before
    """Run the Worker with an instance more under little load, and a short time until idle ones sleep."""
    given = options(MAX_INSTANCES=2, TARGET_UTILISATION=0.4, SLEEP_AFTER=f"{SLEEP_AFTER_S}s")
    with worker(tmp_path_factory.mktemp("sleepy"), "lifeboat-sleepy", *given) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:  # noqa: ARG001 # built before
    """Run the Worker with its doors."""
    folder = tmp_path_factory.mktemp("guarded")
    given = [*doors.configuration(folder, by_address=CALLS), *options(API_KEYS=doors.HASHES)]
    with worker(folder, "lifeboat-guarded", *given) as running:
        yield running


def test_concurrent_cold_calls_share_one_start(cold: Real) -> None:
    """Fifty callers who find nothing running are all answered, by one container, the only one there is."""
    behaviour.cold_callers_share_one_start(cold.edge, cold.engine)


@pytest.mark.parametrize(("method", "path", "status", "code"), behaviour.NEVER_PASSES)
def test_what_never_passes_starts_no_container(cold: Real, method: str, path: str, status: int, code: str) -> None:
    """Model control, metrics and what is unknown are rejected, and no container starts for it."""
    behaviour.what_never_passes_starts_nothing(cold.edge, cold.engine, method, path, (status, code))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing (Debian: curl)")
def test_a_large_file_takes_no_memory(
    real: Real, passengers: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """50 MB are scored to the last row, and the runtime's memory stays flat meanwhile."""
    file = behaviour.large_file(tmp_path, passengers)
    grown_mb = behaviour.a_large_file_takes_no_memory(real.edge, file, tmp_path / "scored.csv")
    with capsys.disabled():
        print(f"\nfile: the runtime's peak rose by {grown_mb:.1f} MB under {file.stat().st_size / 1e6:.0f} MB")


def test_two_instances_share_the_load(both: Real) -> None:
    """Calls of many callers go to both containers, about as many to each."""
    behaviour.two_instances_share_the_load(both.edge)


@pytest.mark.parametrize("killed", [1, 2])
def test_a_kill_under_load_loses_no_call(both: Real, killed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Under 200 calls a second, or what the machine can send, a killed container takes no call with it, nor do both."""
    rate = behaviour.a_kill_under_load_loses_no_call(both.edge, both.engine, killed)
    with capsys.disabled():
        print(f"\nkilled {killed} of 2 under {rate:.0f} calls a second: every call answered")


def test_a_container_that_hangs_is_left_and_avoided(both: Real) -> None:
    """Callers of a container that is frozen are answered by the other one, in time, and later ones avoid it."""
    behaviour.a_hung_instance_is_left_and_avoided(both.edge, both.engine)


def test_a_container_that_hangs_is_started_anew(both: Real) -> None:
    """One that doesn't say that it lives is killed, frozen as it is, and another takes its place."""
    behaviour.a_hung_instance_is_started_anew(both.edge, both.engine)


def test_the_pool_grows_under_load_and_shrinks_after(sleepy: Real) -> None:
    """Under load a second container joins; idle, both are stopped; the next call starts one."""
    behaviour.the_pool_grows_under_load_and_shrinks_after(sleepy.edge, sleepy.engine)


def test_the_cron_holds_a_container_awake(sleepy: Real) -> None:
    """A container that the cron asks stays beyond its sleep time; one that nobody asks ends with 0."""
    behaviour.the_cron_holds_an_instance_awake(sleepy.edge, sleepy.engine, SLEEP_AFTER_S)


def test_a_key_is_needed(guarded: Real) -> None:
    """Without a key, or with a wrong one, a caller is rejected and no container starts."""
    doors.a_key_is_needed(guarded.edge, guarded.engine)


def test_an_address_is_held_to_its_rate(guarded: Real) -> None:
    """A client over the binding's rate gets Retry-After, before any key is checked."""
    answers = [guarded.edge.predict(headers={"x-api-key": "guess"}) for _ in range(CALLS + 1)]
    assert {each.status_code for each in answers} == {401, 429}
    last = answers[-1]
    assert (last.json()["code"], int(last.headers["retry-after"]) > 0) == ("resource_exhausted", True)
    assert not guarded.engine.running()
