"""Requests that /api/batch rejects, by their head or by the file's first rows."""

import json
from typing import Any, Final

import httpx
import pytest

from tests.server.support import files
from tests.server.support.files import HEADER, Record
from tests.server.support.process import connect, read_response

BATCH: Final = "/api/batch"
TYPES: Final = (
    "text/csv, application/x-ndjson, application/vnd.apache.arrow.stream, application/vnd.apache.parquet; got"
)


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("on_error=stop", "on_error", 'on_error: expected one of fail, null, skip; got "stop"'),
        ("columns=sex,sex", "columns", "columns: expected each column once"),
        (
            "columns=sex,cabin",
            "columns",
            'columns: there is no "cabin"; expected all, none, or some of "pclass", "sex",',
        ),
        ("summary=first", "summary", 'summary: expected none or last; got "first"'),
        ("delimiter=::", "delimiter", "delimiter: expected one ASCII character, or one of tab, comma,"),
        ("delimiter=%22", "delimiter", "delimiter: expected one ASCII character"),
        ("delimiter=%C3%A9", "delimiter", "delimiter: expected one ASCII character"),
        (
            "colums=all",
            "colums",
            "colums: no such parameter; expected columns, on_error, delimiter, decimal, null, summary",
        ),
        ("columns=all&columns=none", "columns", 'columns: expected it once; got "all" again'),
    ],
)
def test_parameters(server: httpx.Client, passengers: list[Record], query: str, field: str, words: str) -> None:
    """An unknown or invalid parameter is rejected by name."""
    response = server.put(f"{BATCH}?{query}", content=files.csv(passengers[:2]))
    assert (response.status_code, response.json()["code"], response.json()["field"]) == (
        400,
        "invalid_argument",
        field,
    )
    assert response.json()["error"].startswith(words)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"content-type": "application/json"}, f'content-type: expected one of {TYPES} "application/json"'),
        ({"content-encoding": "br"}, 'content-encoding: expected gzip or zstd; got "br"'),
        ({"accept": "image/png"}, f'accept: expected one of {TYPES} "image/png"'),
        ({"accept": "text/csv;q=0"}, f'accept: expected one of {TYPES} "text/csv;q=0"'),
    ],
)
def test_types(server: httpx.Client, passengers: list[Record], headers: dict[str, str], words: str) -> None:
    """An unknown media type or encoding is rejected with 415."""
    response = server.put(BATCH, content=files.csv(passengers[:2]), headers=headers)
    told = {"error": words, "code": "unsupported_media_type", "field": next(iter(headers))}
    assert (response.status_code, response.json()) == (415, told)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "text/csv"),
        ("text/*", "text/csv"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/jsonl", "application/x-ndjson"),
        ("text/tab-separated-values", "text/tab-separated-values"),
        ("image/png, application/vnd.apache.parquet;q=0.5, text/csv;q=0.1", "application/vnd.apache.parquet"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
    ],
)
def test_accept(server: httpx.Client, passengers: list[Record], accept: str, media_type: str) -> None:
    """The response has the format that the client prefers."""
    response = server.put(BATCH, content=files.csv(passengers[:2]), headers={"accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (200, media_type)


@pytest.mark.parametrize("stated", [None, "application/x-www-form-urlencoded", "application/octet-stream", "TEXT/CSV"])
def test_what_states_nothing(server: httpx.Client, passengers: list[Record], stated: str | None) -> None:
    """Without a stated media type the file's first bytes decide the format."""
    headers = {} if stated is None else {"content-type": stated}
    files.check(server.post(BATCH, content=files.csv(passengers[:9]), headers=headers).content, passengers[:9])


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (b"", None, "body: expected rows; it is empty"),
        (b"\n\n", None, "body: expected a header of column names; it is empty"),
        (
            b"a,b\n1,2\n",
            "pclass",
            'columns: "pclass", "sex", "sibsp", "parch" missing; got "a", "b"',
        ),
        (b"sex,sex,pclass,sibsp,parch\n", "sex", "sex: expected each column once"),
        (
            HEADER.strip() + b",predicted_survived\n",
            "predicted_survived",
            "predicted_survived: expected no column of this name: it is reserved for predictions",
        ),
        (b'[{"pclass":1}]', None, "body: expected one JSON object a line; got an array"),
        (b"PAR1 and no more", None, "body: expected a Parquet file; its end is missing"),
        (b"\xff\xff\xff\xff\x10\0\0\0", None, "body: the Arrow stream ends in the middle of a message"),
        (HEADER + b'1,"fem', None, "body: expected every quote to be closed; the last record's is not"),
    ],
)
def test_files(server: httpx.Client, body: bytes, field: str | None, words: str) -> None:
    """A file that can't be scored is rejected before the response begins."""
    response = server.put(BATCH, content=body)
    told: dict[str, Any] = {"error": words, "code": "invalid_argument"} | ({} if field is None else {"field": field})
    assert (response.status_code, response.json()) == (400, told)


def test_other_methods_and_models(server: httpx.Client) -> None:
    """Another method is rejected with 405 and Allow, an unknown version with 404."""
    response = server.get(BATCH)
    assert (response.status_code, response.headers["allow"]) == (405, "POST, PUT")
    assert server.put("/api/models/titanic/versions/9/batch", content=b"x").status_code == 404


def test_http_1_0(server: httpx.Client, passengers: list[Record]) -> None:
    """HTTP/1.0 is rejected, because its complete and its aborted responses end alike."""
    with connect(server) as connection:
        body = files.csv(passengers[:1])
        connection.sendall(b"PUT /api/batch HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        status, _, answer = read_response(connection)
    assert (status, json.loads(answer)["code"]) == (400, "invalid_argument")
    assert "expected HTTP/1.1 or 2" in json.loads(answer)["error"]


def test_the_timeout_must_be_a_number(server: httpx.Client) -> None:
    """An invalid deadline is rejected."""
    response = server.put(BATCH, content=HEADER, headers={"x-request-timeout-ms": "soon"})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")
