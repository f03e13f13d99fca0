"""The model card endpoint: serves the exporter's HTML without scripts or external resources."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.models import regular_file
from server.models.repository import Repository
from server.rest import card
from server.settings import Settings
from tests.server.support.in_process import InProcess
from tests.server.support.repositories import BEARER, TOKEN, label, publish

CARD = "/api/models/small/card"


OLD_NS = 1_700_000_000_000_000_000
"""Modification time of files that have not changed for a long time."""


def page(version: int) -> str:
    """Return the card of a version."""
    return f"<!doctype html><title>small {version}</title><p>caf\u00e9"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with cards for versions 1 (stable) and 2, none for 3."""
    for version in (1, 2):
        (publish(tmp_path, version) / "card.html").write_text(page(version), encoding="utf-8")
    publish(tmp_path, 3)
    label(tmp_path, stable=1, next=2)
    return tmp_path


@pytest.fixture
def app(root: Path) -> Iterator[InProcess]:
    """Yield a server of the repository, with model control."""
    with InProcess(Repository.load(root), Settings(admin_token=TOKEN)) as served:
        yield served


@pytest.fixture
def reads(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Make all files old. Returns a list that collects the cards read from now on."""
    for path in root.rglob("*"):
        os.utime(path, ns=(OLD_NS, OLD_NS))
    seen: list[Path] = []
    read = regular_file.read

    def watched(path: Path, max_bytes: int) -> bytes:
        if path.name == "card.html":
            seen.append(path)
        return read(path, max_bytes)

    monkeypatch.setattr(regular_file, "read", watched)
    return seen


@pytest.mark.parametrize(
    ("path", "version"),
    [
        (CARD, 1),
        ("/api/models/small/versions/2/card", 2),
        ("/api/models/small/labels/stable/card", 1),
        ("/api/models/small/labels/next/card", 2),
    ],
)
def test_the_card_of_a_version(app: InProcess, path: str, version: int) -> None:
    """The card of the named or default version is served, without scripts or requests."""
    answer = app.get(path)
    assert (answer.status_code, answer.text) == (200, page(version))
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "style-src 'unsafe-inline'", "img-src data:"} <= set(policy)
    assert "script" not in answer.headers["content-security-policy"]


def test_the_card_follows_the_label(app: InProcess, root: Path) -> None:
    """When the label moves to another version, the card and its ETag change."""
    before = app.get(CARD).headers["etag"]
    label(root, stable=2)
    app.post_bytes("/v2/repository/models/small/load", b"", BEARER)
    answer = app.get(CARD, {"if-none-match": before})
    assert (answer.status_code, answer.text) == (200, page(2))
    assert answer.headers["etag"] != before


@pytest.mark.parametrize(
    ("given", "status"),
    [("{}", 304), ("W/{}", 304), ('"a", {}', 304), ("*", 304), ('"a"', 200), ("", 200)],
)
def test_who_has_it_already(app: InProcess, given: str, status: int) -> None:
    """A request whose If-None-Match has the card's ETag gets 304 without a body."""
    etag = app.get(CARD).headers["etag"]
    answer = app.get(CARD, {"if-none-match": given.format(etag)})
    assert (answer.status_code, answer.headers["etag"]) == (status, etag)
    assert answer.text == ("" if status == 304 else page(1))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/models/small/versions/3/card", "model 'small' version 3 has no card"),
        ("/api/models/small/versions/4/card", "model 'small' has no version '4'; its versions: 1, 2, 3"),
        ("/api/models/small/labels/old/card", "model 'small' has no label 'old'; its labels: stable, next"),
        ("/api/models/other/card", "model 'other' is not served; there is small"),
        ("/api/models/../card", "there is nothing at"),
    ],
)
def test_no_card(app: InProcess, path: str, words: str) -> None:
    """A missing card, version, label or model is rejected with 404."""
    answer = app.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["error"].startswith(words)


def test_a_card_is_read_when_it_is_asked_for(app: InProcess, root: Path) -> None:
    """A card added or removed while its model is served is found at once."""
    path = root / "small" / "3" / "card.html"
    path.write_text(page(3), encoding="utf-8")
    assert app.get("/api/models/small/versions/3/card").text == page(3)
    path.unlink()
    assert app.get("/api/models/small/versions/3/card").status_code == 404


def test_cards_are_described(app: InProcess) -> None:
    """The OpenAPI document has the card of the model and of each version and label."""
    paths = app.get("/api/openapi.json").json()["paths"]
    assert {path for path in paths if path.endswith("/card")} == {
        CARD,
        *(f"/api/models/small/versions/{version}/card" for version in (1, 2, 3)),
        *(f"/api/models/small/labels/{name}/card" for name in ("stable", "next")),
    }
    assert "text/html" in paths[CARD]["get"]["responses"]["200"]["content"]


def test_a_card_is_read_once(app: InProcess, root: Path, reads: list[Path]) -> None:
    """A card is not read again while its file is unchanged or still missing."""
    for _ in range(3):
        assert app.get(CARD).text == page(1)
        assert app.get("/api/models/small/versions/2/card").text == page(2)
        assert app.get("/api/models/small/versions/3/card").status_code == 404
    assert reads == [root / "small" / version / "card.html" for version in "123"]


def test_a_card_that_is_replaced(app: InProcess, root: Path, reads: list[Path]) -> None:
    """A card is read again if another file with equal size and time replaces it."""
    assert app.get(CARD).text == page(1)
    path = root / "small" / "1" / "card.html"
    other = path.with_name("other.html")
    other.write_text(page(9), encoding="utf-8")
    os.utime(other, ns=(OLD_NS, OLD_NS))
    other.replace(path)
    assert app.get(CARD).text == page(9)
    assert len(reads) == 2


def test_a_card_that_was_just_written(app: InProcess, root: Path, reads: list[Path]) -> None:
    """A card rewritten quickly with the same size is served with its current content."""
    path = root / "small" / "1" / "card.html"
    for version in range(9):
        path.write_text(page(version), encoding="utf-8")
        assert app.get(CARD).text == page(version)
    assert len(reads) == 9


def test_cards_that_are_too_much_for_memory(app: InProcess, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards above the cache limit are read each time.

    The card that was served last stays cached.
    """
    monkeypatch.setattr(card, "_MAX_CACHED_BYTES", len(page(1).encode()))
    for _ in range(2):
        for version in (1, 2):
            assert app.get(f"/api/models/small/versions/{version}/card").text == page(version)
            assert app.get(f"/api/models/small/versions/{version}/card").text == page(version)
    assert len(reads) == 4


def test_a_changed_digest_file(app: InProcess, root: Path, reads: list[Path]) -> None:
    """A card is checked again when the version's digest file changes."""
    assert app.get(CARD).text == page(1)
    (root / "small" / "1" / "SHA256SUMS").write_text("not a digest file")
    assert app.get(CARD).status_code == 404
    assert len(reads) == 2
