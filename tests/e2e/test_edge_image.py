"""The same way through the Worker as in tests/edge, with the real image at its end."""

import json

from tests.e2e.docker import BASIC, docker
from tests.edge.stack import Edge
from tests.passenger import PASSENGER

EXPECTED = "survived"


def _containers() -> list[str]:
    """Return the running containers that hold the server: the sidecars left out."""
    names = docker("ps", "--filter", "name=workerd-", "--format", "{{.Names}}").split()
    return [name for name in names if not name.endswith("-proxy")]


def test_a_prediction_travels_the_whole_way(edge: Edge) -> None:
    """A cold call through the Worker and the Durable Object is answered by the real container; then within `basic`."""
    assert not _containers()
    assert edge.answered().json()["label"] == EXPECTED
    (container,) = _containers()
    docker("update", *BASIC, container)
    answer = edge.predict()
    assert answer.status_code == 200
    assert json.loads(docker("inspect", container))[0]["HostConfig"]["NanoCpus"] == 250_000_000
    direct = docker("exec", container, "/usr/bin/python3", "-c", _ASK)
    assert json.loads(direct) == answer.json()


def test_a_killed_container_is_replaced(edge: Edge) -> None:
    """After the container is killed the call is answered again, by another."""
    assert edge.answered().status_code == 200
    (container,) = _containers()
    first = docker("inspect", "--format", "{{.Id}}", container)
    docker("kill", container)
    assert edge.answered().json()["label"] == EXPECTED
    (container,) = _containers()
    assert docker("inspect", "--format", "{{.Id}}", container) != first


def test_cron_asks_the_container(edge: Edge) -> None:
    """The scheduled handler finds the container ready."""
    assert edge.answered().status_code == 200
    mark = len(edge.log.lines)
    assert edge.cron().status_code == 200
    edge.log.wait_for("warm: inference-0", after=mark)


_ASK = f"""
import urllib.request
body = {json.dumps(PASSENGER)!r}.encode()
print(urllib.request.urlopen("http://127.0.0.1:8080/api/predict", body).read().decode())
"""
