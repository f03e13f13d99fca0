"""Answers that are kept at the edge, by models and input; and images that are older or newer than the Worker."""

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
    """Return how to put an image with a model in the running one's place; at the end the real server's is back."""

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
    """An image that reports nothing that can be read, and says what nobody has heard of, is served all the same."""
    image("older")
    response = lone.edge.predict()
    assert (response.status_code, response.json()) == (200, {"by": "older"})
    assert response.headers["x-unheard-of"] == "1"
    assert "x-lifeboat-load" not in response.headers
    assert "instance;dur=" in response.headers["server-timing"]


def test_an_answer_is_kept_until_another_model_answers(lone: Local, image: Callable[[str], None]) -> None:
    """The second answer is a hit; after a rollout none is an old one; after a rollback the old are right again."""
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
    """What is kept is answered while the instance sleeps, also to who has it already."""
    image("kept")
    assert _get(lone, 7) == (200, "kept", "miss")
    lone.engine.kill(signal.SIGTERM)
    assert _get(lone, 7) == (200, "kept", "hit")
    again = lone.edge.http.get(f"{QUERY}7", headers={"if-none-match": '"kept"'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", '"kept"')
    assert not lone.engine.running()


def test_a_post_may_opt_in(local: Local) -> None:
    """A prediction by POST is answered from the cache where its caller asks for that, to the last bit the same."""
    assert local.edge.answered().status_code == 200
    record = PASSENGER | {"age": 61}
    first, second = (local.edge.predict(record, headers=OPTED) for _ in range(2))
    assert (first.headers["lifeboat-cache"], second.headers["lifeboat-cache"]) == ("miss", "hit")
    assert first.content == second.content == local.edge.predict(record).content
    assert "lifeboat-cache" not in local.edge.predict(record).headers


def test_the_servers_own_get_is_kept(local: Local, server: httpx.Client) -> None:
    """A record that is a query is answered as the server answers it, the second time from the cache, with its tag."""
    asked = {**PASSENGER, "age": 31.25}  # by nobody else: what others asked is kept
    query = {name: str(value) for name, value in asked.items() if value is not None}
    direct = server.get("/api/predict", params=query)
    assert direct.status_code == 200
    local.edge.answered()
    answers = [local.edge.http.get("/api/predict", params=query) for _ in range(2)]
    assert [each.headers["lifeboat-cache"] for each in answers] == ["miss", "hit"]
    assert {each.content for each in answers} == {direct.content}
    assert {each.headers["etag"] for each in answers} == {direct.headers["etag"]}
