"""Fixtures: the Worker in the real Workers runtime, with the server as a local process."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.edge.stack import ROOT, Local, options, stand_in_engine, wrangler_dev

SLEEP_AFTER_S: Final = 3
DEAD_AFTER_MS: Final = 5000
"""Milliseconds without a response after which an instance that a test has stopped is restarted."""


def running(folder: Path, *options: str) -> Iterator[Local]:
    """Run the Worker with these options of `wrangler dev`; store its state in `folder`."""
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
    """Run the Worker with a single instance, so that a test observes that one only."""
    yield from running(tmp_path_factory.mktemp("lone"), *options(MAX_INSTANCES=1, DEAD_AFTER_MS=DEAD_AFTER_MS))


@pytest.fixture
def cold(lone: Local) -> Local:
    """Return the Worker with no container running or starting."""
    lone.engine.kill(signal.SIGKILL)
    return lone


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Run the Worker with two warm instances and an attempt timeout of one second."""
    instances = {"WARM_INSTANCES": 2, "MAX_INSTANCES": 2}
    times = {"ATTEMPT_TIMEOUT_MS": 1000, "DEAD_AFTER_MS": DEAD_AFTER_MS}
    yield from running(tmp_path_factory.mktemp("pair"), *options(**instances, **times))
