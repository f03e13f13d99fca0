"""Caching of GET responses: entity tags, Cache-Control and 304 Not Modified."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from server.models.repository import Repository
from tests.passenger import PASSENGER
from tests.server.support import every, small
from tests.server.support.in_process import InProcess
from tests.server.support.rpc import INFER, MODELS, PREDICT, SERVICE, Answer, counted, get, http1, request
from tests.server.support.wire import Wire, wire

QUERY: Final = "pclass=1&sex=female&age=29&sibsp=0&parch=0&fare=211.3375&embarked=S"
RECORD: Final = quote(json.dumps(PASSENGER))
CALL: Final = f"{PREDICT}?connect=v1&encoding=json&message="
MOVING: Final = "public, max-age=60, must-revalidate"
PINNED: Final = "public, max-age=86400, immutable"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[InProcess]:
    """Serve two versions of the same model file."""
    small.double(tmp_path)
    small.double(tmp_path, version=2)
    (tmp_path / "small" / "labels.json").write_text('{"stable": 1, "next": 2}')
    with InProcess(Repository.load(tmp_path)) as app:
        yield app


@pytest.mark.parametrize(
    ("path", "cache_control"),
    [
        (f"/api/predict?{QUERY}", MOVING),
        (f"/api/models/titanic/predict?{QUERY}", MOVING),
        (f"/api/models/titanic/labels/stable/predict?{QUERY}", MOVING),
        (f"/api/models/titanic/versions/1/predict?{QUERY}", PINNED),
        (f"{CALL}{RECORD}", MOVING),
    ],
)
def test_how_long_an_answer_holds(served: Wire, path: str, cache_control: str) -> None:
    """Predictions by version are cached for a day; by default version or label, for LIFEBOAT_CACHE_S."""
    answer = get(served, path)
    assert (answer.status, answer.headers["cache-control"]) == (200, cache_control)
    assert answer.headers["etag"]


@pytest.mark.parametrize(("cache_s", "cache_control"), [(5, "public, max-age=5, must-revalidate"), (0, "no-cache")])
def test_the_setting(cache_s: int, cache_control: str) -> None:
    """LIFEBOAT_CACHE_S sets max-age for default and label URLs; 0 makes caches revalidate every time."""
    with wire(Repository.load(MODELS), cache_s=cache_s) as served:
        assert get(served, f"/api/predict?{QUERY}").headers["cache-control"] == cache_control
        assert get(served, f"{CALL}{RECORD}").headers["cache-control"] == cache_control
        pinned = get(served, f"/api/models/titanic/versions/1/predict?{QUERY}")
        assert pinned.headers["cache-control"] == PINNED


@pytest.mark.parametrize("path", [f"/api/predict?{QUERY}", f"{CALL}{RECORD}"])
@pytest.mark.parametrize("given", ["{}", "W/{}", '"other", {}', "*"])
def test_who_has_the_answer_is_told_so(served: Wire, path: str, given: str) -> None:
    """A matching If-None-Match gets 304 with the caching headers only, and the model doesn't run."""
    whole = get(served, path)
    runs = counted(served).runs
    known = get(served, path, f"if-none-match: {given.format(whole.headers['etag'].removeprefix('W/'))}")
    assert (known.status, known.body, counted(served).runs) == (304, b"", runs)
    for name in ("etag", "cache-control", "vary"):
        assert known.headers.get(name) == whole.headers.get(name)
    assert not {"content-type", "content-length", "transfer-encoding"} & set(known.headers)


@pytest.mark.parametrize("given", ['"0123456789abcdef0123456789abcdef"', "", "etag"])
def test_who_has_another_gets_the_answer(served: Wire, given: str) -> None:
    """An If-None-Match that doesn't match gets the full response."""
    answer = get(served, f"/api/predict?{QUERY}", f"if-none-match: {given}")
    assert (answer.status, answer.body) == (200, get(served, f"/api/predict?{QUERY}").body)


def test_one_input_has_one_tag(served: Wire) -> None:
    """The same input has the same tag in any spelling; other inputs have other tags."""
    same = [
        QUERY,
        QUERY.replace("age=29", "age=29.0").replace("pclass=1", "pclass=1.0"),
        "&".join(reversed(QUERY.split("&"))),
        QUERY.replace("211.3375", "211.33750000001"),  # the model's numbers have 32 bits
    ]
    others = [QUERY.replace("29", "30"), QUERY.replace("=S", "="), QUERY.replace("=0", "=1", 1)]
    tags = [get(served, f"/api/predict?{query}").headers["etag"] for query in [*same, *others]]
    assert len({*tags[: len(same)]}) == 1
    assert len({*tags}) == 1 + len(others)


def test_strings_are_told_apart(tmp_path: Path) -> None:
    """The same text in two different string features gives two different tags."""
    every.load(tmp_path)
    numbers = "&".join(f"{each.name}=1" for each in every.FEATURES if each.datatype not in {"BOOL", "BYTES"})
    with InProcess(Repository.load(tmp_path)) as app:
        asked = [
            app.get(f"/api/predict?{numbers}&bool=true&{strings}") for strings in ("bytes=yes", "bytes=&category=yes")
        ]
    assert [answer.status_code for answer in asked] == [200, 200]
    assert asked[0].headers["etag"] != asked[1].headers["etag"]


def test_calls_have_tags_of_their_own(served: Wire) -> None:
    """Each format has its own tag; a compressed response has the same tag, marked weak."""
    binary = base64.urlsafe_b64encode(request(**PASSENGER).SerializeToString()).decode()
    asked = [
        get(served, f"/api/predict?{QUERY}"),
        get(served, f"{CALL}{RECORD}"),
        get(served, f"{PREDICT}?connect=v1&encoding=proto&base64=1&message={binary}"),
        get(served, f"{SERVICE}/PredictBatch?encoding=json&message={quote(json.dumps({'records': [PASSENGER]}))}"),
    ]
    assert [answer.status for answer in asked] == [200] * 4
    tags = [answer.headers["etag"].removeprefix("W/") for answer in asked]
    assert len({*tags}) == 4
    zipped = get(served, f"{CALL}{RECORD}", "accept-encoding: gzip")
    assert zipped.headers["etag"] == asked[1].headers["etag"]
    assert (zipped.headers["etag"][:2], zipped.headers["vary"]) == ("W/", "accept-encoding")
    assert (
        get(served, f"{CALL}{quote(json.dumps(dict(reversed(PASSENGER.items()))))}").headers["etag"]
        == zipped.headers["etag"]
    )


def test_versions_have_tags_of_their_own(two: InProcess) -> None:
    """Two versions of one model file have different tags: their responses name the version."""
    tags = {
        name: two.get(f"/api/models/small/{name}/predict?x=1").headers["etag"]
        for name in ("versions/1", "versions/2", "labels/stable", "labels/next")
    }
    assert tags["versions/1"] == tags["labels/stable"] == two.get("/api/predict?x=1").headers["etag"]
    assert tags["versions/2"] == tags["labels/next"] != tags["versions/1"]


def _failures(served: Wire) -> list[Answer]:
    return [
        get(served, "/api/predict?pclass=9"),
        get(served, "/api/models/nobody/predict?x=1"),
        get(served, "/api/nothing"),
        get(served, f"/api/predict?{QUERY}", "x-request-timeout-ms: 0"),
        get(served, f"{CALL}%7B%7D"),
        get(served, f"{CALL}{RECORD}", "connect-timeout-ms: 0"),
        get(served, f"{PREDICT}?encoding=json"),
        get(served, f"{PREDICT}?encoding=xml&message=1"),
        get(served, f"{SERVICE}/Nothing?encoding=json&message=1"),
        http1(served, "/api/predict", b"{}"),
    ]


def test_no_failure_is_kept(served: Wire) -> None:
    """Every error response is `no-store` and has no tag, in every protocol."""
    for failed in _failures(served):
        assert failed.status >= 400
        assert failed.headers["cache-control"] == "no-store"
        assert "etag" not in failed.headers


def test_a_full_queue_is_not_kept() -> None:
    """The 429 response to a GET on a full queue is `no-store`."""
    with wire(Repository.load(MODELS), max_queue_rows=1, queue_delay_us=1_000_000, max_batch_rows=4) as served:
        first, second = served.connect(), served.connect()
        with first, second:
            for each in (first, second):
                each.sendall(f"GET /api/predict?{QUERY} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
                served.turn()
            [(status, headers, _)] = served.read(second)
    assert (status, headers["cache-control"]) == (429, "no-store")
    assert "retry-after" in headers


@pytest.mark.parametrize(
    "path",
    ["/inference.GRPCInferenceService/ServerLive?encoding=json&message=%7B%7D", f"{INFER}?encoding=json&message="],
)
def test_what_changes_is_not_kept(served: Wire, path: str) -> None:
    """GET calls of status methods and of ModelInfer are `no-store`."""
    tensors = [
        {"name": "pclass", "datatype": "INT64", "shape": [1, 1], "contents": {"int64_contents": [1]}},
        {"name": "sex", "datatype": "BYTES", "shape": [1, 1], "contents": {"bytes_contents": ["ZmVtYWxl"]}},
        {"name": "sibsp", "datatype": "INT64", "shape": [1, 1], "contents": {"int64_contents": [0]}},
        {"name": "parch", "datatype": "INT64", "shape": [1, 1], "contents": {"int64_contents": [0]}},
    ]
    message = quote(json.dumps({"model_name": "titanic", "inputs": tensors})) if path.startswith(INFER) else ""
    answer = get(served, path + message)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store"), answer.body
    assert "etag" not in answer.headers
