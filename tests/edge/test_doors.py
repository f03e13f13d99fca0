"""The doors of a deployment that has them: keys, rates, other origins' pages, and what the server is told."""

import hashlib
from collections.abc import Iterator

import pytest

from tests.edge.conftest import options, running
from tests.edge.stack import ROOT, Local
from tests.passenger import PASSENGER

KEY = "correct horse battery staple".replace(" ", "-")
RATE = 20
BOUND = """
[[ratelimits]]
name = "RATE_BY_ADDRESS"
namespace_id = "1"
simple = { limit = 1000, period = 60 }

[[ratelimits]]
name = "RATE_BY_KEY"
namespace_id = "2"
simple = { limit = 20, period = 60 }
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Run the Worker with each of its doors, by a configuration beside the deployed one."""
    folder = tmp_path_factory.mktemp("guarded")
    config = folder / "wrangler.toml"
    text = (ROOT / "wrangler.toml").read_text()
    for path in ("worker/index.ts", "./Dockerfile", "scripts/assets", "server/web", ".build/assets"):
        text = text.replace(f'"{path}"', f'"{ROOT / path}"')
    config.write_text(text + BOUND)
    hashes = f"other:{hashlib.sha256(b'other').hexdigest()},mobile:{hashlib.sha256(KEY.encode()).hexdigest()}"
    origins = "https://app.example"
    given = options(API_KEYS=hashes, CORS_ORIGINS=origins, LIFEBOAT_MAX_ROWS=7, LOG_REQUESTS="all")
    yield from running(folder, "--config", str(config), *given)


def test_a_key_is_needed(guarded: Local) -> None:
    """Without a key, or with a wrong one, a caller is refused and no container starts."""
    for headers in ({}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}):
        response = guarded.edge.predict(headers=headers)
        assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
        assert guarded.edge.http.get("/status", headers=headers).status_code == 401
    assert guarded.edge.http.get("/healthz").status_code == 200
    assert not guarded.engine.running()


def test_each_key_passes(guarded: Local) -> None:
    """Each of several keys lets a caller pass, and the log names the key, not what it is."""
    mark = len(guarded.edge.log.lines)
    for headers in ({"x-api-key": "other"}, {"authorization": f"Bearer {KEY}"}):
        assert guarded.edge.predict(headers=headers).status_code == 200
    guarded.edge.log.wait_for(r'"instance":"inference-0".*"key":"mobile"', after=mark)
    assert KEY not in "".join(guarded.edge.log.lines[mark:])


def test_other_origins_are_let_in_by_name(guarded: Local) -> None:
    """A preflight of a named origin is answered without key or container; another's gets no leave."""
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "connect-protocol-version"}
    for origin, leave in (("https://app.example", "https://app.example"), ("https://evil.example", None)):
        response = guarded.edge.http.options("/api/predict", headers=asks | {"origin": origin})
        assert response.headers.get("access-control-allow-origin") == leave
    answer = guarded.edge.predict(headers={"x-api-key": "other", "origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"


def test_settings_reach_the_server(guarded: Local) -> None:
    """A variable or secret of the Worker's that is named for the server is the server's environment."""
    response = guarded.edge.predict({"records": [PASSENGER] * 8}, headers={"x-api-key": "other"})
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


def test_a_large_body_is_refused_by_its_length(guarded: Local) -> None:
    """A body beyond the limit is refused by the Worker, in the server's own words."""
    response = guarded.edge.http.post("/api/predict", content=b" " * 4_194_305, headers={"x-api-key": "other"})
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


def test_a_key_is_held_to_its_rate(guarded: Local) -> None:
    """Whoever calls more often than the binding allows is told when to try again; other keys are not."""
    answers = [guarded.edge.predict(headers={"x-api-key": KEY}) for _ in range(RATE + 1)]
    refused = [each for each in answers if each.status_code == 429]
    assert refused
    assert (refused[0].json()["code"], int(refused[0].headers["retry-after"]) > 0) == ("resource_exhausted", True)
    assert guarded.edge.predict(headers={"x-api-key": "other"}).status_code == 200
