"""A deployment with authentication and rate limits, and the requests that it rejects."""

import hashlib
from pathlib import Path
from typing import Final

from tests.edge.behaviour import Engine
from tests.edge.stack import ROOT, Edge

KEY: Final = "correct horse battery staple".replace(" ", "-")
OTHER: Final = "other"
RATE: Final = 20
"""Requests per minute with one key."""
HASHES: Final = ",".join(
    f"{name}:{hashlib.sha256(key.encode()).hexdigest()}" for name, key in (("other", OTHER), ("mobile", KEY))
)
"""The secret API_KEYS."""
_BOUND: Final = """
[[ratelimits]]
name = "RATE_BY_ADDRESS"
namespace_id = "1"
simple = {{ limit = {by_address}, period = 60 }}

[[ratelimits]]
name = "RATE_BY_KEY"
namespace_id = "2"
simple = {{ limit = {by_key}, period = 60 }}
"""


def configuration(folder: Path, by_address: int = 1000) -> list[str]:
    """Write wrangler.toml with both rate limits into `folder`; return the options that make wrangler use it."""
    text = (ROOT / "wrangler.toml").read_text()
    for path in ("worker/index.ts", "./Dockerfile", "scripts/assets", "server/web", ".build/assets"):
        text = text.replace(f'"{path}"', f'"{ROOT / path}"')
    config = folder / "wrangler.toml"
    config.write_text(text + _BOUND.format(by_address=by_address, by_key=RATE))
    return ["--config", str(config)]


def a_key_is_needed(edge: Edge, engine: Engine) -> None:
    """Send requests without a key or with a wrong one: they are rejected and start no container."""
    for headers in ({}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}):
        response = edge.predict(headers=headers)
        assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
        assert edge.http.get("/status", headers=headers).status_code == 401
    assert edge.http.get("/healthz").status_code == 200
    assert not engine.running()
