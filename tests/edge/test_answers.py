"""Tests of the Worker's response cache, and of images that are older or newer than the Worker."""

import signal
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.edge.stack import Local
from tests.passenger import PASSENGER

QUERY = "/api/predict?n="
OPTED = {"lifeboat-cache": "allow"}


@pytest.fixture
def image(lone: Local) -> Iterator[Callable[[str], None]]:
    """Return a function that replaces the running image; restore the real server afterwards."""

    def roll(model: str) -> None:
        lone.engine.boot(f'exec "$1" tests/edge/image.py {model}')
        lone.engine.kill(signal.SIGTERM)
        assert lone.edge.cron().status_code == 200

    yield roll
    lone.engine.boot(None)
    lone.engine.kill(signal.SIGKILL)


def _get(local: Local, number: int, **headers: str) -> tuple[int, object, str | None]:
    response = local.edge.http.get(f"{QUERY}{number}", headers=headers)
    return response.status_code, response.json()["by"], response.headers.get("lifeboat-cache")


def test_an_older_image_answers(lone: Local, image: Callable[[str], None]) -> None:
    """The Worker serves an image that sends an unreadable load report and an unknown header."""
    image("older")
    response = lone.edge.predict()
    assert (response.status_code, response.json()) == (200, {"by": "older"})
    assert response.headers["x-unheard-of"] == "1"
    assert "x-lifeboat-load" not in response.headers
    assert "instance;dur=" in response.headers["server-timing"]


def test_an_answer_is_kept_until_another_model_answers(lone: Local, image: Callable[[str], None]) -> None:
    """A cached response is reused until the model changes, and again after a rollback to that model."""
    image("one")
    assert _get(lone, 1) == (200, "one", "miss")
    assert _get(lone, 1) == (200, "one", "hit")
    image("two")
    lone.edge.predict({"n": 2})
    assert _get(lone, 1) == (200, "two", "miss")
    assert _get(lone, 1) == (200, "two", "hit")
    image("one")
    lone.edge.predict({"n": 2})
    assert _get(lone, 1) == (200, "one", "hit")


def test_a_hit_wakes_no_container(lone: Local, image: Callable[[str], None]) -> None:
    """A cache hit is served while the instance sleeps, as is a conditional request."""
    image("kept")
    assert _get(lone, 7) == (200, "kept", "miss")
    lone.engine.kill(signal.SIGTERM)
    assert _get(lone, 7) == (200, "kept", "hit")
    again = lone.edge.http.get(f"{QUERY}7", headers={"if-none-match": '"kept"'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", '"kept"')
    assert not lone.engine.running()


def test_a_post_may_opt_in(local: Local) -> None:
    """A prediction by POST is served from the cache, byte for byte, if the client opts in."""
    assert local.edge.answered().status_code == 200
    record = PASSENGER | {"age": 61}
    first, second = (local.edge.predict(record, headers=OPTED) for _ in range(2))
    assert (first.headers["lifeboat-cache"], second.headers["lifeboat-cache"]) == ("miss", "hit")
    assert first.content == second.content == local.edge.predict(record).content
    assert "lifeboat-cache" not in local.edge.predict(record).headers


def test_the_servers_own_get_is_kept(local: Local, server: httpx.Client) -> None:
    """A repeated GET prediction comes from the cache with the server's own content and ETag."""
    asked = {**PASSENGER, "age": 31.25}  # no other test sends this record, so it is not cached yet
    query = {name: str(value) for name, value in asked.items() if value is not None}
    direct = server.get("/api/predict", params=query)
    assert direct.status_code == 200
    local.edge.answered()
    answers = [local.edge.http.get("/api/predict", params=query) for _ in range(2)]
    assert [each.headers["lifeboat-cache"] for each in answers] == ["miss", "hit"]
    assert {each.content for each in answers} == {direct.content}
    assert {each.headers["etag"] for each in answers} == {direct.headers["etag"]}
