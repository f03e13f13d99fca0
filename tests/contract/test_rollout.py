"""Test of a rollout and a rollback of version 2 under a client's requests."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from server.models import manifest as manifests
from tests.export.command import export, export_run
from tests.passenger import PASSENGER
from tests.server.support.process import HUNG_S, ROOT, serving

DATA = ROOT / "export" / "data" / "titanic.csv"


class _Caller:
    """A client that sends requests in a loop and stores the responses."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._ended = False
        self._answered = threading.Condition()
        self.answers: list[tuple[int, str]] = []

    def call(self) -> None:
        """Send requests until `calling` ends."""
        while not self._ended:
            answer = self._client.post("/api/predict", json=PASSENGER)
            with self._answered:
                self.answers.append((answer.status_code, answer.json().get("version", answer.text)))
                self._answered.notify_all()

    def wait_for(self, version: str) -> None:
        """Wait until the latest response is from this version."""
        with self._answered:
            assert self._answered.wait_for(lambda: self.answers[-1:] == [(200, version)], HUNG_S), self.answers[-3:]

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Send requests in a thread while the block runs."""
        thread = threading.Thread(target=self.call)
        thread.start()
        try:
            yield
        finally:
            self._ended = True
            thread.join()


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """Return a file of passengers with some rows removed."""
    header, *rows = DATA.read_text().splitlines()
    path = tmp_path / "changed.csv"
    path.write_text("\n".join([header, *rows[40:]]) + "\n")
    return path


def test_a_day(models: Path, changed: Path) -> None:
    """Version 2 is published and served, a rollback serves version 1 again, and no request fails."""
    with (
        serving(LIFEBOAT_MODELS=str(models), LIFEBOAT_REPOSITORY_POLL_S="1") as client,
        httpx.Client(base_url=client.base_url, timeout=HUNG_S) as own,
    ):
        caller = _Caller(own)
        with caller.calling():
            caller.wait_for("1")
            published = export_run(models, "--data", str(changed))
            assert published.code == 0, published.complained
            caller.wait_for("2")
            card = client.get("/api/models/titanic/versions/2/card")
            back = export("rollback", "titanic", "--models", str(models))
            assert back.returncode == 0, back.stderr
            caller.wait_for("1")
    assert {status for status, _ in caller.answers} == {200}
    turns = [version for place, (_, version) in enumerate(caller.answers) if version != caller.answers[place - 1][1]]
    assert [caller.answers[0][1], *turns] in (["1", "2", "1"], ["1", "1", "2", "1"])
    assert (card.status_code, card.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert card.content == (models / "titanic" / "2" / "card.html").read_bytes()
    _check_second_version(models, published.said)


def _check_second_version(models: Path, said: str) -> None:
    """Check that version 2 was compared with version 1, and how `export diff` describes it."""
    assert "compare: with stable version 1 on the same " in said
    manifest = manifests.read(models / "titanic" / "2" / "manifest.json")
    assert manifest.comparison is not None
    assert (manifest.comparison.version, manifest.provenance.dataset_rows) == (1, 1269)
    told = json.loads(export("diff", "titanic", "1", "2", "--models", str(models), "--json").stdout)
    assert told["signature"] == []
    assert "dataset rows: 1309 is now 1269" in told["provenance"]
    assert told["disagreement"]["rows"] == 1309
    assert told["disagreement"]["largest"] > 0
