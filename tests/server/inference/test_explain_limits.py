"""Limits of explanations: rejected requests, early ends, and priority of predictions."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from server.app import RequestDispatcher, create_app
from server.errors import ManifestError
from server.models.manifest import Scalar
from server.models.repository import Repository
from server.settings import Settings
from tests.server.support import explained
from tests.server.support.in_process import InProcess
from tests.server.support.process import HUNG_S, serving

EXPLAIN: Final = "/api/explain"
PREDICT: Final = "/api/predict"
MANY: Final = 8
"""Features of a model whose explanation takes thousands of single-row runs on the event loop."""
RECORD: Final = {f"f{place}": -1.0 - place for place in range(MANY)}
Call = Callable[[httpx.AsyncClient], Awaitable[None]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with only that model."""
    root = tmp_path_factory.mktemp("wide")
    explained.wide(root, MANY)
    return root


def during(root: Path, call: Call, max_explanations: int) -> None:
    """Run the requests of `call` against an in-process app with single-row batches."""

    async def run() -> None:
        transport = httpx.ASGITransport(
            create_app(Repository.load(root), Settings(max_explanations=max_explanations, max_batch_rows=1))
        )
        async with asyncio.timeout(HUNG_S), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            await call(client)

    asyncio.run(run())


def test_twelve_features_are_explained_and_more_are_not(tmp_path: Path) -> None:
    """Up to 12 features are explained exactly; 13 get 501 before the body is read."""
    explained.wide(tmp_path, 12)
    explained.wide(tmp_path, 13, name="wider")
    with InProcess(Repository.load(tmp_path, "small")) as client:
        told = client.post(EXPLAIN, {f"f{place}": -1.0 - place for place in range(12)}).json()
        for place, share in enumerate(told["contributions"].values()):
            assert share == pytest.approx(-1.0 - place - (12 * 31 / 2 + place), abs=1e-3)
        refused = client.post("/api/models/wider/explain", {})
    assert refused.status_code == 501
    words = "wider has 13 features; explanations support at most 12"
    assert refused.json() == {"error": words, "code": "unimplemented"}


def test_no_background(tmp_path: Path) -> None:
    """A version without background rows, such as an older one, gets 501."""
    explained.wide(tmp_path, 2, background=[])
    with InProcess(Repository.load(tmp_path)) as client:
        refused = client.post(EXPLAIN, {"f0": 1, "f1": 2})
    assert refused.status_code == 501
    words = "small version 1 has no background rows, which explanations require"
    assert refused.json() == {"error": words, "code": "unimplemented"}


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        ("x", "1.5"),
        ("x", True),
        ("x", None),
        ("x", 1e39),
        ("many", 1.5),
        ("many", 2.0**70),
        ("many", False),
        ("word", 1),
        ("wide", "far"),
        ("x", "there is none"),
    ],
)
def test_a_background_that_is_none(tmp_path: Path, feature: str, value: Scalar | None) -> None:
    """An invalid background row is found when the version is loaded."""
    row = explained.BACKGROUND[0] | {feature: value}
    if value == "there is none":
        del row[feature]
    explained.regression(tmp_path, background=[*explained.BACKGROUND, row])
    with pytest.raises(ManifestError, match=f"background: row 3: {feature}: not a value of"):
        Repository.load(tmp_path)


def test_rows_over_the_limit(tmp_path: Path) -> None:
    """Explanations above the row limit get 413, by their number or by their size."""
    explained.wide(tmp_path, 3)
    record = {"f0": 1, "f1": 2, "f2": 3}
    with InProcess(Repository.load(tmp_path), Settings(max_explain_rows=2 * 8 * 32)) as client:
        assert len(client.post(EXPLAIN, {"records": [record] * 2}).json()["explanations"]) == 2
        refused = client.post(EXPLAIN, {"records": [record] * 3})
    words = "records: expected at most 2, got 3"
    assert refused.json() == {"error": words, "code": "payload_too_large", "field": "records"}
    with InProcess(Repository.load(tmp_path), Settings(max_explain_rows=8 * 32 - 1)) as client:
        refused = client.post(EXPLAIN, record)
    assert refused.status_code == 413
    words = "an explanation of one record runs 256 rows of the model; expected at most 255"
    assert refused.json() == {"error": words, "code": "payload_too_large"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"records":[]}',
        b'{"f0":"x"}',
        b'{"f0":1}',
        b'{"f0":NaN,"f1":1}',
        b'{"f0":1,"f1":1,"f2":1}',
        b"\xff",
    ],
)
def test_a_wrong_record_is_told_as_by_a_prediction(tmp_path: Path, body: bytes) -> None:
    """An invalid record gets the same error as in a prediction."""
    explained.wide(tmp_path, 2)
    with InProcess(Repository.load(tmp_path)) as client:
        refused, expected = (client.post_bytes(path, body) for path in (EXPLAIN, PREDICT))
    assert refused.status_code == 400
    assert refused.json() == expected.json()


def test_limits_of_a_body() -> None:
    """A body's size, type and deadline have the same limits as in a prediction."""
    with serving(LIFEBOAT_MAX_BODY_BYTES="100") as client:
        for content, headers in (
            (b" " * 101, {}),
            (b"{}", {"content-type": "text/csv"}),
            (b"{}", {"content-encoding": "br"}),
            (b"{}", {"x-request-timeout-ms": "soon"}),
        ):
            refused, expected = (client.post(path, content=content, headers=headers) for path in (EXPLAIN, PREDICT))
            assert refused.status_code in {400, 413, 415}
            assert (refused.status_code, refused.text) == (expected.status_code, expected.text)


def test_so_many_at_a_time(root: Path) -> None:
    """One explanation above the concurrency limit gets 429 at once; the others get responses."""

    async def call(client: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(*(client.post(EXPLAIN, json=RECORD) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 429]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["retry-after"] == "1"
        words = "2 explanations are in progress, which is the maximum; try again"
        assert refused.json() == {"error": words, "code": "resource_exhausted"}
        assert (await client.post(EXPLAIN, json=RECORD)).status_code == 200

    during(root, call, max_explanations=2)


def test_none_may_be_taken(root: Path) -> None:
    """With a limit of 0 every explanation is rejected, and predictions still work."""

    async def call(client: httpx.AsyncClient) -> None:
        assert (await client.post(EXPLAIN, json=RECORD)).status_code == 429
        assert (await client.post(PREDICT, json=RECORD)).status_code == 200

    during(root, call, max_explanations=0)


def test_a_deadline_ends_the_work(root: Path) -> None:
    """A late explanation gets 504 and ends, so that the next one can start."""

    async def call(client: httpx.AsyncClient) -> None:
        for late in ("0", "1"):
            refused = await client.post(EXPLAIN, json=RECORD, headers={"x-request-timeout-ms": late})
            assert (refused.status_code, refused.json()["code"]) == (504, "deadline_exceeded")
        assert (await client.post(EXPLAIN, json=RECORD, headers={"x-request-timeout-ms": "50000"})).status_code == 200

    during(root, call, max_explanations=1)


def test_who_leaves_ends_the_work(root: Path) -> None:
    """When a client disconnects, the remaining runs of its explanation are dropped."""
    app = create_app(Repository.load(root), Settings(max_explanations=1, max_batch_rows=1))

    async def run() -> None:
        async with asyncio.timeout(HUNG_S):
            leaves, never = asyncio.Event(), asyncio.Event()
            assert await _status(app, never) == 200  # imports the code, so that the next two requests start in order
            leaving = asyncio.create_task(_status(app, leaves))
            await asyncio.sleep(0)
            assert await _status(app, never) == 429
            leaves.set()
            assert await leaving == 499
            assert await _status(app, never) == 200

    asyncio.run(run())


async def _status(app: RequestDispatcher, leaves: asyncio.Event) -> int:
    """Request an explanation, and disconnect when `leaves` is set. Returns the response's status."""
    bodies = [b"{" + b",".join(f'"{name}":{value}'.encode() for name, value in RECORD.items()) + b"}"]
    statuses: list[int] = []

    async def receive() -> Any:  # noqa: ANN401 # a message
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        await leaves.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:  # noqa: ANN401
        statuses.extend([message["status"]] if "status" in message else [])

    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": EXPLAIN, "headers": []}
    await app(scope | {"query_string": b"", "root_path": ""}, receive, send)
    return statuses[0]


def test_predictions_go_first(root: Path) -> None:
    """Predictions get responses while an explanation is in progress."""

    async def call(client: httpx.AsyncClient) -> None:
        assert (await client.post(EXPLAIN, json=RECORD)).status_code == 200  # imports the code first
        explaining = asyncio.create_task(client.post(EXPLAIN, json=RECORD))
        await asyncio.sleep(0)
        assert (await client.post(EXPLAIN, json=RECORD)).status_code == 429
        for _ in range(10):
            assert (await client.post(PREDICT, json=RECORD)).status_code == 200
        assert not explaining.done()
        assert (await explaining).status_code == 200

    during(root, call, max_explanations=1)


def test_explanations_are_no_predictions(tmp_path: Path) -> None:
    """Explanations are not counted in the model's statistics."""
    explained.wide(tmp_path, 2)
    with InProcess(Repository.load(tmp_path)) as client:
        client.post(PREDICT, {"f0": 1, "f1": 2})
        before = client.get("/v2/models/small/stats").json()
        assert client.post(EXPLAIN, {"f0": 1, "f1": 2}).status_code == 200
        assert client.post(EXPLAIN, {"f0": 1}).status_code == 400
        assert client.get("/v2/models/small/stats").json() == before
