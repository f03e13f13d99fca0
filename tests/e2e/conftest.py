"""The real image, and the Worker in front of it."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.docker import docker
from tests.edge.stack import ROOT, Edge, wrangler_dev

SIDECAR = "lifeboat-egress:local"


@pytest.fixture(scope="session")
def image() -> str:
    """Build the image from this tree."""
    subprocess.run(["make", "image"], cwd=ROOT, check=True, capture_output=True)
    return "lifeboat"


@pytest.fixture(scope="session")
def edge(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:  # noqa: ARG001 # built before, so that wrangler finds its layers
    """Run the Worker, its containers built from the Dockerfile and run by the real engine."""
    before = set(_workerd_containers())
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    state = tmp_path_factory.mktemp("state")
    with wrangler_dev(state, str(ROOT / "scripts/docker"), host, MINIFLARE_CONTAINER_EGRESS_IMAGE=SIDECAR) as running:
        yield running
    left = set(_workerd_containers()) - before  # the runtime removes its own, but not those it is still removing
    subprocess.run(["docker", "rm", "--force", *left], check=False, capture_output=True)


def _workerd_containers() -> list[str]:
    return docker("ps", "--all", "--quiet", "--filter", "name=workerd-").split()
