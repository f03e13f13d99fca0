"""Cases for the batch endpoint: formats, parameters, compression, forms, and invalid rows."""

import sys
from collections.abc import Iterator, Mapping
from typing import Final

from tests.recorded import inputs
from tests.recorded.exchange import Case
from tests.recorded.http1 import Fields, Http1, chunked, request
from tests.recorded.inputs import BROKEN_CSV, CSV, RECORD, csv_rows, gzipped, ndjson, records, table

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_ARROW: Final = "application/vnd.apache.arrow.stream"
_PARQUET: Final = "application/vnd.apache.parquet"
_NDJSON: Final = "application/x-ndjson"
_SEMICOLONS: Final = csv_rows(3).replace(b",", b";")
_COMMAS: Final = _SEMICOLONS.replace(b".", b",")
_PATH: Final = "/api/batch"


def _files() -> Mapping[str, bytes]:
    """Return valid files by name."""
    rows = table(5, note=["a", "b", None, "d", "e"])
    return {
        "CSV": CSV.encode(),
        "CSV with CRLF": CSV.replace("\n", "\r\n").encode(),
        "CSV with a mark": b"\xef\xbb\xbf" + CSV.encode(),
        "CSV with semicolons": _SEMICOLONS,
        "CSV with tabs": csv_rows(3).replace(b",", b"\t"),
        "CSV with sep=": b"sep=;\n" + _SEMICOLONS,
        "CSV without rows": b"pclass,sex,sibsp,parch\n",
        "CSV with blank lines": b"pclass,sex,sibsp,parch\n\n1,male,0,0\n\n",
        "CSV with equal names": b"x,pclass,sex,sibsp,parch,x\n1,1,male,0,0,2\n",
        "CSV of 3000 rows": csv_rows(3000),
        "NDJSON": ndjson(records(5)),
        "NDJSON with other fields": ndjson([{**RECORD, "name": "Zoë", "tags": [1, {"a": None}]}, {**RECORD, "n": 1}]),
        "an Arrow stream": inputs.arrow_stream(rows),
        "an Arrow file": inputs.arrow_file(rows),
        "a dictionary in Arrow": inputs.arrow_stream(rows.set_column(1, "sex", rows["sex"].dictionary_encode())),
        "Parquet": inputs.parquet(rows),
    }


_WRONG: Final[Mapping[str, bytes]] = {
    "empty": b"",
    "a blank line": b"\n",
    "a missing column": b"pclass,sex,sibsp\n1,male,0\n",
    "a column of other case": b"pclass,Sex,sibsp,parch\n1,male,0,0\n",
    "a feature twice": b"pclass,sex,sibsp,parch,sex\n1,male,0,0,male\n",
    "a column of an output": b"pclass,sex,sibsp,parch,predicted_survived\n1,male,0,0,1\n",
    "too few fields": b"pclass,sex,sibsp,parch\n1,male,0\n",
    "too many fields": b"pclass,sex,sibsp,parch\n1,male,0,0,0,0\n",
    "an open quote": b'pclass,sex,sibsp,parch\n1,"male,0,0\n',
    "rows that can't be scored": BROKEN_CSV.encode(),
    "a title first": b"passengers of 1912\n\npclass,sex,sibsp,parch\n1,male,0,0\n",
    "one line": b"pclass,sex,sibsp,parch1,male,0,0",
    "no UTF-8": b"pclass,sex,sibsp,parch\n1,m\xff,0,0\n",
    "UTF-16": CSV.encode("utf-16"),
    "ZIP": b"PK\3\4" + bytes(40),
    "HTML": b"<!doctype html><html></html>",
    "SQLite": b"SQLite format 3\0" + bytes(100),
    "a wrong object": ndjson([RECORD, {**RECORD, "pclass": 9}]),
    "an object without a feature": ndjson([{"pclass": 1}]),
    "a line that is no object": ndjson([RECORD]) + b"[1]\n",
    "a line that is no JSON": ndjson([RECORD]) + b"{x\n",
    "a bare NaN": ndjson([RECORD]).replace(b"29", b"NaN"),
    "half of Parquet": inputs.parquet(table())[:200],
    "half of an Arrow stream": inputs.arrow_stream(table())[:500],
    "an Arrow stream of wrong types": inputs.arrow_stream(table().set_column(0, "pclass", table()["sex"])),
}
_QUERIES: Final = (
    "columns=none",
    "columns=all",
    "columns=name,age",
    "columns=age,name,age",
    "columns=nothing",
    "columns=",
    "on_error=null",
    "on_error=skip",
    "on_error=fail",
    "on_error=stop",
    "summary=last",
    "summary=first",
    "on_error=null&columns=pclass&summary=last",
    "on_error=skip&summary=last",
    "null=NA,-999",
    "null=",
    "decimal=comma",
    "decimal=.",
    "decimal=;",
    "delimiter=comma",
    "delimiter=tab",
    "delimiter=%3B",
    "delimiter=ab",
    "delimiter=%22",
    "columns=all&columns=none",
    "rows=1",
    "format=csv",
)
_ACCEPTS: Final = (
    "text/csv",
    "text/tab-separated-values",
    _NDJSON,
    _ARROW,
    _PARQUET,
    "*/*",
    "text/*",
    "application/json",
    "text/csv;q=0.1, application/x-ndjson",
    "text/html",
)
_HEADERS: Final[Mapping[str, Fields]] = {
    "te": [("te", "trailers")],
    "csv stated": [("content-type", "text/csv")],
    "csv stated as tabs": [("content-type", "text/tab-separated-values")],
    "csv stated as NDJSON": [("content-type", _NDJSON)],
    "csv stated as Arrow": [("content-type", _ARROW)],
    "csv stated as Parquet": [("content-type", _PARQUET)],
    "csv stated as a form": [("content-type", "application/x-www-form-urlencoded")],
    "a wrong type": [("content-type", "text/html")],
    "a wrong encoding": [("content-encoding", "br")],
    "gzip stated of text": [("content-encoding", "gzip")],
    "zstd stated of text": [("content-encoding", "zstd")],
    "accept-encoding gzip": [("accept-encoding", "gzip")],
    "accept-encoding zstd": [("accept-encoding", "gzip;q=0.5, zstd")],
    "accept-encoding br": [("accept-encoding", "br")],
    "a timeout": [("x-request-timeout-ms", "60000")],
    "a wrong timeout": [("x-request-timeout-ms", "x")],
}
_PATHS: Final = (
    "/api/models/titanic/batch",
    "/api/models/titanic/versions/1/batch",
    "/api/models/titanic/labels/stable/batch",
    "/api/models/nothing/batch",
    "/api/models/titanic/versions/9/batch",
    "/api/models/titanic/labels/nothing/batch",
)


def cases() -> Iterator[Case]:
    """Yield the cases."""
    files = _files()
    for name, content in {**files, **_WRONG}.items():
        yield _put(name, content, fields=[("te", "trailers")])
    yield from _formats(files)
    yield from _queries()
    yield _put("semicolons with decimal commas", _COMMAS, "decimal=comma&delimiter=semicolon")
    for name, fields in _HEADERS.items():
        yield _put(f"with {name}", CSV.encode(), fields=fields)
    for path in _PATHS:
        yield Http1(f"POST {path}", "batch", (request("POST", path, CSV.encode()),))
    yield from _broken_off()
    yield from _compressed()
    yield from _forms()
    yield Http1(f"GET {_PATH}", "batch", (request("GET", _PATH),))
    yield Http1("batch over HTTP/1.0", "batch", (b"POST /api/batch HTTP/1.0\r\ncontent-length: 2\r\n\r\na\n",))
    sent = request("PUT", _PATH, chunked(csv_rows(3000), 5000), [("transfer-encoding", "chunked"), ("te", "trailers")])
    yield Http1("PUT /api/batch: CSV in chunks", "batch", (sent,))


def _formats(files: Mapping[str, bytes]) -> Iterator[Case]:
    for name in ("CSV", "NDJSON", "an Arrow stream", "Parquet"):
        for accept in _ACCEPTS:
            yield _put(f"{name} to {accept}", files[name], fields=[("accept", accept)])
        for query in ("columns=none", "summary=last", "columns=nothing"):
            yield _put(f"{name} with {query}", files[name], query)


def _queries() -> Iterator[Case]:
    for query in _QUERIES:
        content = BROKEN_CSV if "on_error" in query else CSV
        yield _put(f"query {query}", content.encode(), query)
    for name, broken in (("NDJSON", ndjson([RECORD, {**RECORD, "pclass": 9}])), ("CSV", BROKEN_CSV.encode())):
        for on_error in ("null", "skip"):
            for accept in (_NDJSON, _ARROW, _PARQUET):
                query = f"on_error={on_error}&summary=last"
                yield _put(f"broken {name} to {accept} with {query}", broken, query, [("accept", accept)])


def _put(name: str, content: bytes, query: str = "", fields: Fields = ()) -> Http1:
    return Http1(f"PUT {_PATH}: {name}", "batch", (request("PUT", f"{_PATH}?{query}", content, fields),))


def _broken_off() -> Iterator[Case]:
    """Yield files with an error so late that their responses have begun.

    The error comes after more bytes than the server buffers.
    """
    rows = csv_rows(60_000)
    stated = [("content-type", "multipart/form-data; boundary=limit")]
    te = [("te", "trailers")]
    contents: Mapping[str, tuple[bytes, Fields]] = {
        "60000 rows and a wrong one": (rows + b"9,male,1,0,0,1,S\n", te),
        "20000 objects and a wrong one": (ndjson([*records(20_000), {**RECORD, "sex": "x"}]), te),
        "60000 rows in half of gzip": (gzipped(rows)[:-9], te),
        "form with a field behind": (
            _part(rows) + _part(b"x", "columns", None, "text/plain") + b"--limit--\r\n",
            stated,
        ),
        "form with two files": (_part(rows) * 2 + b"--limit--\r\n", stated),
        "form with no end": (_part(rows), stated),
    }
    for name, (content, fields) in contents.items():
        sent = request("PUT", _PATH, content, fields)
        yield Http1(f"PUT {_PATH}: {name}", "batch", (sent,), is_broken_off=True)


def _compressed() -> Iterator[Case]:
    packed = zstd.compress(CSV.encode())
    contents = {
        "gzip": ("gzip", gzipped(CSV.encode())),
        "gzip of two streams": ("gzip", gzipped(CSV[:60].encode()) + gzipped(CSV[60:].encode())),
        "half of gzip": ("gzip", gzipped(CSV.encode())[:50]),
        "gzip and text behind": ("gzip", gzipped(CSV.encode()) + b"text"),
        "zstd": ("zstd", packed),
        "half of zstd": ("zstd", packed[:40]),
        "zstd and text behind": ("zstd", packed + b"text"),
    }
    for name, (encoding, content) in contents.items():
        yield _put(f"{name}, stated", content, fields=[("content-encoding", encoding)])
        yield _put(f"{name}, not stated", content)


def _part(content: bytes, name: str = "file", filename: str | None = "p.csv", media_type: str = "text/csv") -> bytes:
    """Return one part of a form."""
    shown = "" if filename is None else f'; filename="{filename}"'
    head = f'--limit\r\nContent-Disposition: form-data; name="{name}"{shown}\r\nContent-Type: {media_type}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def _forms() -> Iterator[Case]:
    file = _part(CSV.encode())
    end = b"--limit--\r\n"
    field = _part(b"x", "columns", None, "text/plain")
    forms = {
        "one file": file + end,
        "a file of no stated type": _part(ndjson(records(2)), filename="p.ndjson", media_type="text/plain") + end,
        "a file of tabs": _part(csv_rows(2).replace(b",", b"\t"), filename="p.tsv", media_type="") + end,
        "gzip in it": _part(gzipped(CSV.encode()), filename="p.csv.gz", media_type="application/gzip") + end,
        "a wrong type": _part(CSV.encode(), media_type="text/html", filename="p.html") + end,
        "a field before": field + file + end,
        "no file": end,
        "no part": b"text",
        "a preamble": b"preamble\r\n" + file + end + b"epilogue",
    }
    for name, content in forms.items():
        stated = [("content-type", "multipart/form-data; boundary=limit")]
        yield _put(f"form with {name}", content, fields=stated)
    for media_type in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other"):
        yield _put(f"form stated as {media_type}", file + end, fields=[("content-type", media_type)])
    compressed = [("content-type", "multipart/form-data; boundary=limit"), ("content-encoding", "gzip")]
    yield _put("compressed form", gzipped(file + end), fields=compressed)
