"""`POST /api/batch` with multipart/form-data, as HTML forms and many clients send a file."""

import gzip
import re
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pyarrow as pa
import pytest

from server.codecs.tables.media_types import PARQUET
from server.models.repository import Repository
from tests.server.support import files
from tests.server.support.rpc import MODELS, Http2
from tests.server.support.tables import PASSENGERS, write
from tests.server.support.wire import wire

BATCH: Final = "/api/batch"
TABLE: Final = b"pclass,sex,sibsp,parch\n1,male,0,0\n3,female,1,0\n"
DISPOSITION: Final = 'content-disposition: form-data; name="file"; filename="t.csv"\r\n'


def _form(content: bytes, head: str = DISPOSITION, end: bytes = b"\r\n--x--\r\n") -> bytes:
    return b"--x\r\n" + head.encode() + b"\r\n" + content + end


def _post(server: httpx.Client, body: bytes | Iterator[bytes], **headers: str) -> httpx.Response:
    stated = {"content-type": "multipart/form-data; boundary=x"} | headers
    return server.post(BATCH, content=body, headers=stated)


@pytest.mark.parametrize(
    "file",
    [
        ("t.csv", TABLE),
        ("t.csv", TABLE, "text/csv"),
        ("t.csv", TABLE, "application/vnd.ms-excel"),
        ("t.csv.gz", gzip.compress(TABLE)),
        ("t.tsv", TABLE.replace(b",", b"\t")),
        ("t", TABLE),
        ("t", TABLE, "text/plain"),
        ("-", TABLE),
    ],
    ids=lambda file: f"{file[0]} {file[2] if len(file) > 2 else ''}",
)
def test_a_file_in_a_form(server: httpx.Client, file: tuple[Any, ...]) -> None:
    """A file in a form is scored like the same bytes in a plain body."""
    alone = server.post(BATCH, content=file[1])
    response = server.post(BATCH, files={"file": file})
    assert (response.status_code, response.content) == (200, alone.content)
    assert response.headers["content-type"] == alone.headers["content-type"] or file[0] == "t.tsv"


def test_the_type_of_a_part_counts(server: httpx.Client) -> None:
    """A part's content type decides the file format; one that is no table is rejected."""
    records = b'{"pclass":1,"sex":"male","sibsp":0,"parch":0}\n'
    response = server.post(BATCH, files={"file": ("t", records, "application/x-ndjson")})
    assert response.headers["content-type"] == "application/x-ndjson"
    wrong = server.post(BATCH, files={"file": ("t.png", TABLE, "image/png")})
    assert (wrong.status_code, wrong.json()["field"]) == (415, "content-type")
    assert wrong.json()["error"].endswith('got "image/png"')


@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("boundary", ["x", "----WebKitFormBoundary7MA4YWxkTrZu0gW", "'()+_,-./:=?"])
def test_content_in_any_pieces(server: httpx.Client, size: int, boundary: str) -> None:
    """A boundary is found in any pieces; text that resembles it stays content."""
    rows = b"".join(b'1,male,0,0,"\r\n--%d\r\n-"\r\n' % number for number in range(20))
    table = b"pclass,sex,sibsp,parch,note\r\n" + rows
    body = _form(table).replace(b"--x", b"--" + boundary.encode())
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    stated = f'multipart/form-data; charset=utf-8; boundary="{boundary}"'
    response = _post(server, pieces, **{"content-type": stated})
    assert (response.status_code, response.content) == (200, server.post(BATCH, content=table).content)


def test_over_http2() -> None:
    """A form is also read over HTTP/2."""
    stated = ("content-type", "multipart/form-data; boundary=x")
    with wire(Repository.load(MODELS), http2=True) as served, Http2(served) as connection:
        answer = connection.post(BATCH, _form(TABLE), stated)
    assert (answer.status, answer.body.count(b"\n")) == (200, 3)


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (b"", "form", "form: expected its boundary; the body ends before it"),
        (TABLE, "form", "form: expected its boundary; the body ends before it"),
        (b"--x--\r\n", "form", "form: expected one file; it has none"),
        (b"y" * 20_000, "form", "form: expected its boundary within 16384 bytes"),
        (b"--x" + b"y" * 20_000, "form", "form: expected the end of a part's head within 16384 bytes"),
        (b"--xy\r\n\r\n\r\n", "form", "form: expected a line end behind the boundary"),
        (_form(TABLE, end=b""), "form", "form: expected its last boundary; the body ends before it"),
        (_form(TABLE, end=b"\r\n--x"), "form", "form: expected its last boundary; the body ends before it"),
        (_form(TABLE, end=b"\r\n") + _form(TABLE), "form", 'form: expected one file; got another, "t.csv"'),
        (
            _form(b"none", 'content-disposition: form-data; name="columns"\r\n'),
            "columns",
            'filename with the file; got "columns"',
        ),
        (
            _form(TABLE, end=b"\r\n") + _form(b"", "content-disposition: form-data; name=delimiter\r\n"),
            "delimiter",
            "form: expected no field beside the file; send parameters in the query, and a filename with the file; got",
        ),
        (_form(TABLE, ""), "form", 'got ""'),
        (_form(TABLE, f"{DISPOSITION}content-transfer-encoding: base64\r\n"), "form", 'expected binary; got "base64"'),
        (_form(b""), None, "body: expected rows; it is empty"),
        (_form(b"a,b\n"), "pclass", '"pclass", "sex", "sibsp", "parch" missing; got "a", "b"'),
    ],
    ids=range(15),
)
def test_forms_that_can_not_be_read(server: httpx.Client, body: bytes, field: str | None, words: str) -> None:
    """A form without a file, with two files or other fields, or truncated, is rejected."""
    response = _post(server, body)
    assert (response.status_code, response.json()["code"]) in {(400, "invalid_argument"), (413, "payload_too_large")}
    assert words in response.json()["error"]
    assert response.json().get("field") == field
    assert _post(server, _form(TABLE)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"content-type": "multipart/form-data"}, 400, 'boundary of at most 70 characters; got ""'),
        ({"content-type": f"multipart/form-data; boundary={'x' * 71}"}, 400, "boundary of at most 70 characters"),
        ({"content-encoding": "gzip"}, 415, 'expected none around a form; compress the file instead; got "gzip"'),
        ({"content-type": "multipart/mixed; boundary=x"}, 415, 'got "multipart/mixed"'),
    ],
)
def test_heads_that_can_not_be_read(server: httpx.Client, headers: dict[str, str], status: int, words: str) -> None:
    """A form without a boundary parameter, or compressed as a whole, is rejected."""
    response = _post(server, _form(TABLE), **headers)
    assert response.status_code == status
    assert words in response.json()["error"]


def test_a_field_behind_rows_that_were_answered(server: httpx.Client) -> None:
    """An error after rows were sent ends the response with the reason."""
    field = _form(b"none", 'content-disposition: form-data; name="columns"\r\n')
    with files.upload(server, "content-type: multipart/form-data; boundary=x", method="POST") as sent:
        sent.send(_form(TABLE + b"1,male,0,0\n" * 10_000, end=b""))
        assert sent.head()[0] == 200
        sent.send(b"\r\n" + field)
        received, trailers = sent.rest()
    assert trailers is None
    assert re.search(rb'# error: form: expected no field beside the file.*got "columns"\n$', received)
    assert _post(server, _form(TABLE)).status_code == 200


def test_parquet_in_a_form(server: httpx.Client) -> None:
    """A binary file in a form arrives complete: Parquet, detected by its suffix."""
    table = write(pa.table(PASSENGERS), PARQUET)
    response = server.post(BATCH, files={"file": ("t.parquet", table, "application/octet-stream")})
    assert (response.status_code, response.headers["content-type"]) == (200, PARQUET.media_type)
