"""Fixtures: the real image, and the Worker in front of it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.docker import Docker, docker
from tests.edge.stack import ROOT, Edge, wrangler_dev

SIDECAR: Final = "lifeboat-egress:local"


@dataclass
class Real:
    """A Worker and the real container engine that runs its containers."""

    edge: Edge
    engine: Docker


@pytest.fixture(scope="session")
def image() -> str:
    """Build the image from this tree."""
    subprocess.run(["make", "image"], cwd=ROOT, check=True, capture_output=True)
    return "lifeboat"


@contextmanager
def worker(folder: Path, name: str, *options: str) -> Iterator[Real]:
    """Run the Worker with options of `wrangler dev`; its containers carry `name`."""
    engine = Docker(name)
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    command = str(ROOT / "scripts/docker")
    settings = {"MINIFLARE_CONTAINER_EGRESS_IMAGE": SIDECAR}
    try:
        with wrangler_dev(folder / "state", command, host, "--name", name, *options, **settings) as edge:
            yield Real(edge, engine)
    finally:
        left = docker("ps", "--all", "--quiet", "--filter", f"name=workerd-[0-9a-f]+-{name}-").split()
        # the runtime removes its containers, but not always in time
        subprocess.run(["docker", "rm", "--force", *left], check=False, capture_output=True)


@pytest.fixture(scope="session")
def real(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:  # noqa: ARG001 # built before, so that wrangler finds its layers
    """Run the deployed Worker, with containers built from the Dockerfile."""
    with worker(tmp_path_factory.mktemp("real"), "lifeboat") as running:
        yield running
