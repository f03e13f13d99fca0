"""Tests of predictions and files through the Worker to the real image."""

import json
import signal

import httpx
import pytest

from tests.e2e.conftest import Real
from tests.e2e.docker import BASIC, docker
from tests.passenger import PASSENGER
from tests.server.support import files
from tests.server.support.files import Record, upload

EXPECTED = "survived"


def test_a_prediction_travels_the_whole_way(real: Real) -> None:
    """A cold request is served by the real container, also with the limits of `basic`."""
    assert not real.engine.running()
    assert real.edge.answered().json()["label"] == EXPECTED
    (container,) = real.engine.running()
    docker("update", *BASIC, container)
    answer = real.edge.predict()
    assert answer.status_code == 200
    assert json.loads(docker("inspect", container))[0]["HostConfig"]["NanoCpus"] == 250_000_000
    direct = docker("exec", container, "/usr/bin/python3", "-c", _ASK)
    assert json.loads(direct) == answer.json()


def test_a_file_travels_the_whole_way(real: Real, passengers: list[Record]) -> None:
    """Within the limits of `basic` a file is scored bit for bit; a wrong one is cut off."""
    assert real.edge.answered().status_code == 200
    (container,) = real.engine.running()
    docker("update", *BASIC, container)
    with upload(real.edge.http) as sent:
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
        real.edge.http.put("/api/batch", content=files.csv(passengers, 50_000) + b"9,female,29,0,0,7,S\n")


def test_a_killed_container_is_replaced(real: Real) -> None:
    """After the container is killed, another one serves the next request."""
    assert real.edge.answered().status_code == 200
    first = real.engine.running()
    real.engine.kill(signal.SIGKILL)
    assert real.edge.answered().json()["label"] == EXPECTED
    assert len(real.engine.running()) == 1
    assert real.engine.running() != first


def test_cron_asks_the_container(real: Real) -> None:
    """The cron finds the container ready."""
    assert real.edge.answered().status_code == 200
    mark = len(real.edge.log.lines)
    assert real.edge.cron().status_code == 200
    real.edge.log.wait_for("warm: inference-0", after=mark)


_ASK = f"""
import urllib.request
body = {json.dumps(PASSENGER)!r}.encode()
print(urllib.request.urlopen("http://127.0.0.1:8080/api/predict", body).read().decode())
"""
