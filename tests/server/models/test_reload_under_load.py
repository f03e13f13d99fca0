"""Reloads under steady load over sockets: no request fails, and no response mixes two versions."""

import csv
import http.client
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.server.support.process import HUNG_S, serving
from tests.server.support.repositories import TOKEN, label, load, publish, until

SWAPS: Final = 40
MAX_BATCH_ROWS: Final = 64
XS: Final = [1.0, 2.0, 4.0, 8.0]
"""Numbers whose doubles and triples are exact."""
Ask = Callable[[httpx.Client], tuple[str, list[float], list[float]]]
"""Function that sends one request and returns the response's version, the inputs and the outputs."""


def factor(version: int) -> int:
    """Return the factor of x that a version computes."""
    return 2 if version % 2 else 3


def one(client: httpx.Client) -> tuple[str, list[float], list[float]]:
    """Predict one record."""
    answer = client.post("/api/predict", json={"x": 8.0})
    assert answer.status_code == 200, answer.text
    return answer.json()["version"], [8.0], [answer.json()["value"]]


def many(rows: int) -> Ask:
    """Return a function that predicts `rows` records in one request."""
    xs = (XS * rows)[:rows]

    def ask(client: httpx.Client) -> tuple[str, list[float], list[float]]:
        answer = client.post("/api/predict", json={"records": [{"x": x} for x in xs]})
        assert answer.status_code == 200, answer.text
        return answer.json()["version"], xs, [each["value"] for each in answer.json()["predictions"]]

    return ask


def tensors(client: httpx.Client) -> tuple[str, list[float], list[float]]:
    """Predict tensors by the Open Inference Protocol."""
    tensor = {"name": "x", "shape": [4, 1], "datatype": "FP32", "data": XS}
    answer = client.post("/v2/models/small/infer", json={"inputs": [tensor]})
    assert answer.status_code == 200, answer.text
    return answer.json()["model_version"], XS, answer.json()["outputs"][0]["data"]


def call(client: httpx.Client) -> tuple[str, list[float], list[float]]:
    """Predict several records by the typed RPC service."""
    answer = client.post("/lifeboat.small.v1.SmallService/PredictBatch", json={"records": [{"x": x} for x in XS]})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    return document["version"], XS, [each["value"] for each in document["predictions"]]


ASKS: Final = {
    "one": one,
    "a few": many(5),
    "more than a batch": many(5 * MAX_BATCH_ROWS),
    "tensors": tensors,
    "a call": call,
}


@contextmanager
def asking(client: httpx.Client) -> Iterator[dict[str, set[str]]]:
    """Send all kinds of requests in threads; yield the versions that responded to each kind."""
    answered: dict[str, set[str]] = {name: set() for name in ASKS}
    stop = threading.Event()

    def go_on(name: str) -> int:
        asked = 0
        with httpx.Client(base_url=client.base_url, timeout=HUNG_S, trust_env=False) as caller:
            while not stop.is_set():
                version, xs, values = ASKS[name](caller)
                assert values == [x * factor(int(version)) for x in xs]
                answered[name].add(version)
                asked += 1
        return asked

    with ThreadPoolExecutor(len(ASKS)) as threads:
        going = [threads.submit(go_on, name) for name in ASKS]
        try:
            yield answered
        finally:
            stop.set()
        assert all(each.result() for each in going)


class Upload:
    """An upload that is sent in part, and whose response has begun."""

    def __init__(self, client: httpx.Client) -> None:
        """Send the first part, and wait for the response's head."""
        first, self._rest = b"x\n" + b"1\n2\n4\n" * 3000, b"8\n1\n" * 3000
        host, port = client.base_url.host, client.base_url.port
        self._connection = http.client.HTTPConnection(host, port, timeout=HUNG_S)
        self._connection.putrequest("PUT", "/api/batch")
        self._connection.putheader("content-type", "text/csv")
        self._connection.putheader("content-length", str(len(first) + len(self._rest)))
        self._connection.endheaders(first)
        self._answer = self._connection.getresponse()

    def check(self, version: int) -> None:
        """Send the rest, and check that the complete response is from this version."""
        with closing(self._connection):
            self._connection.send(self._rest)
            assert (self._answer.status, self._answer.headers["lifeboat-version"]) == (200, str(version))
            rows = list(csv.reader(self._answer.read().decode().splitlines()))[1:]
        assert len(rows) == 15_000
        assert {float(value) / float(x) for x, value in rows} == {factor(version)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with version 1, labelled stable."""
    publish(tmp_path, 1, factor(1))
    label(tmp_path, stable=1)
    return tmp_path


@contextmanager
def served(root: Path, **settings: str) -> Iterator[httpx.Client]:
    """Serve a repository with a low batch limit."""
    limits = {"LIFEBOAT_MAX_BATCH_ROWS": str(MAX_BATCH_ROWS), "LIFEBOAT_MAX_BATCHES": "4"}
    with serving(LIFEBOAT_MODELS=str(root), LIFEBOAT_ADMIN_TOKEN=TOKEN, **limits, **settings) as client:
        yield client


def test_swaps_by_hand(root: Path) -> None:
    """With reloads by model control, each response is complete and of one version."""
    with served(root) as client, asking(client) as answered:
        for swap in range(SWAPS):
            old, new = swap + 1, swap + 2
            publish(root, new, factor(new))
            label(root, stable=new)
            upload = Upload(client) if swap % 10 == 0 else None
            assert load(client).status_code == 200
            if swap % 2:  # moves the label back and forth, which loads nothing
                for version in (old, new):
                    label(root, stable=version)
                    assert load(client).status_code == 200
                    assert one(client)[0] == str(version)
            shutil.rmtree(root / "small" / str(old))
            assert load(client).status_code == 200
            if upload:
                upload.check(old)
        assert client.get("/api/models/small").json()["versions"] == [str(SWAPS + 1)]
        reloads = client.get("/metrics").text
    assert all(len(versions) > SWAPS / 4 for versions in answered.values()), answered
    assert 'lifeboat_model_reloads_total{model="small",result="refused"} 0.0' in reloads


def test_swaps_by_watching(root: Path) -> None:
    """The same holds for reloads by the watcher."""
    with served(root, LIFEBOAT_REPOSITORY_POLL_S="1") as client, asking(client) as answered:
        for new in (2, 3):
            upload = Upload(client)
            publish(root, new, factor(new))
            label(root, stable=new)
            until(client, "/api/models/small", lambda answer, new=new: answer.json()["version"] == str(new))  # type: ignore[misc]
            upload.check(new - 1)
    assert all({"1", "2"} <= versions for versions in answered.values()), answered
