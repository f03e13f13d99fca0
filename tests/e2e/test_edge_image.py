"""The same way through the Worker as in tests/edge, with the real image at its end."""

import json

import httpx
import pytest

from tests.e2e.docker import BASIC, docker
from tests.edge.stack import Edge
from tests.passenger import PASSENGER
from tests.server import files
from tests.server.files import Record, upload

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


def test_a_file_travels_the_whole_way(edge: Edge, passengers: list[Record]) -> None:
    """Within `basic` the container scores a file through the Worker, to the last bit; a wrong one breaks off."""
    assert edge.answered().status_code == 200
    (container,) = _containers()
    docker("update", *BASIC, container)
    with upload(edge.http) as sent:
        sent.send(files.csv(passengers[:1]))
        assert sent.head()[0] == 200
        first = sent.piece() or b""
        for passenger in passengers[1:]:
            sent.send(files.line(passenger))
        sent.end()
        rest, trailers = sent.rest()
    assert trailers is not None
    files.check(first + rest, passengers)
    with pytest.raises(httpx.RemoteProtocolError):
        edge.http.put("/api/batch", content=files.csv(passengers, 50_000) + b"9,female,29,0,0,7,S\n")


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
