"""The Worker in the real Workers runtime, the real server behind it as a local process."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.edge.stack import ROOT, Local, options, stand_in_engine, wrangler_dev

SLEEP_AFTER_S: Final = 3
DEAD_AFTER_MS: Final = 5000
"""How long an instance that a test has stopped stays silent before it is restarted."""


def running(folder: Path, *options: str) -> Iterator[Local]:
    """Run the Worker with these options of `wrangler dev`, and keep its state in the folder."""
    with (
        stand_in_engine(folder) as (engine, address),
        wrangler_dev(folder / "state", str(ROOT / "tests/edge/docker"), address, *options) as edge,
    ):
        yield Local(edge, engine)


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Run the Worker as it is deployed."""
    yield from running(tmp_path_factory.mktemp("edge"))


@pytest.fixture(scope="session")
def sleepy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Run the Worker with instances that sleep after three seconds."""
    yield from running(tmp_path_factory.mktemp("sleepy"), *options(SLEEP_AFTER=f"{SLEEP_AFTER_S}s"))


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Run the Worker with a single instance: what becomes of that one is seen by itself."""
    yield from running(tmp_path_factory.mktemp("lone"), *options(MAX_INSTANCES=1, DEAD_AFTER_MS=DEAD_AFTER_MS))


@pytest.fixture
def cold(lone: Local) -> Local:
    """Return the edge with no container running, nor any that a load before started and that is not yet up."""
    lone.engine.kill(signal.SIGKILL)
    return lone


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Run the Worker with two warm instances, whose answers it doesn't wait for longer than a second."""
    instances = {"WARM_INSTANCES": 2, "MAX_INSTANCES": 2}
    times = {"ATTEMPT_TIMEOUT_MS": 1000, "DEAD_AFTER_MS": DEAD_AFTER_MS}
    yield from running(tmp_path_factory.mktemp("pair"), *options(**instances, **times))
