"""Targets for the batch endpoint: CSV, NDJSON, Arrow streams and Parquet, compressed or not."""

import gzip
import io
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from server.codecs.tables.compression import CompressingSink
from server.codecs.tables.media_types import CSV, NDJSON
from tests.fuzz import mutation
from tests.fuzz.target import Head, body_target
from tests.server.support.tables import PASSENGERS, Kept, write

_ROWS: Final = pa.table({name: values * 2 for name, values in PASSENGERS.items()})
_OTHERS: Final[dict[str, Any]] = {
    "list": pa.array([["a", None], None, [], ["b"]] * 2, pa.list_(pa.string_view())),
    "struct": pa.array([{"a": 1, "b": [True]}, None, {"a": None, "b": []}, {"a": 2, "b": None}] * 2),
    "codes": pa.array(["p", "q", None, "p"] * 2).dictionary_encode(),
    "view": pa.array(["p", "q" * 20, None, ""] * 2, pa.string_view()),
    "fixed": pa.array([b"ab", None, b"cd", b"ef"] * 2, pa.binary(2)),
    "map": pa.array([[("a", 1)], None, [], [("b", None)]] * 2, pa.map_(pa.string(), pa.int32())),
    "decimal": pa.array([1, None, 2, 3] * 2, pa.decimal128(38, 3)),
    "time": pa.array([1, None, 2, 3] * 2, pa.timestamp("us", "Europe/Berlin")),
    "large": pa.array(["p", None, "", "q"] * 2, pa.large_string()),
    "nothing": pa.nulls(8),
    "half": pa.array([1.0, None, 2.0, 3.0] * 2, pa.float16()),
    "fixed list": pa.array([[1, 2], None, [3, None], [4, 5]] * 2, pa.list_(pa.int64(), 2)),
}
_CODED_LISTS: Final = pa.DictionaryArray.from_arrays(
    pa.array([0, 1, None, 0] * 2, pa.int8()), pa.array([["a"], ["b", "c"]])
)
_LISTED_CODES: Final = pa.ListArray.from_arrays(
    pa.array(range(9), pa.int32()), pa.array(["p", "q"] * 4).dictionary_encode()
)
_QUERIES: Final = ("", "?on_error=null", "?on_error=skip", "?columns=none")


def _heads(media_type: str, *more: str) -> list[Head]:
    kind = f"content-type: {media_type}"
    return [
        *(Head(f"POST /api/batch{query}", (kind, *more)) for query in _QUERIES),
        *(Head("PUT /api/batch", (kind, f"accept: {other}", *more)) for other in (CSV.media_type, NDJSON.media_type)),
    ]


def _packed_heads(pack: str) -> list[Head]:
    return _heads(CSV.media_type, f"content-encoding: {pack}")


def _wide() -> pa.Table:
    table = _ROWS
    for name, column in _OTHERS.items():
        table = table.append_column(name, column)
    return table.append_column("coded lists", _CODED_LISTS).append_column("listed codes", _LISTED_CODES)


def _ipc(table: pa.Table, codec: Any = None, *, file: bool = False) -> bytes:  # noqa: ANN401 # pyarrow's codec type
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(out, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=3)
    return out.getvalue()


def _arrows() -> list[bytes]:
    wide = _wide()
    coded = pa.table({f"c{number}": _OTHERS["codes"] for number in range(20)})
    return [
        _ipc(_ROWS),
        _ipc(_ROWS, "zstd"),
        _ipc(_ROWS, "lz4"),
        _ipc(_ROWS, file=True),
        _ipc(wide),
        _ipc(wide, "lz4"),
        _ipc(coded),
        *(_ipc(_ROWS.append_column(name, wide[name])) for name in wide.column_names[len(PASSENGERS) :]),
    ]


def _parquets() -> list[bytes]:
    found = []
    for options in (
        {},
        {"compression": "zstd"},
        {"data_page_version": "2.0"},
        {"use_dictionary": False, "compression": "none"},
    ):
        out = io.BytesIO()
        writer: Any = pq.write_table
        writer(_ROWS, out, **options)
        found.append(out.getvalue())
    return found


def _parquet(data: bytes, chance: Any) -> bytes:  # noqa: ANN401 # Random
    """Return a Parquet file with changed pages or a changed footer.

    The footer's length mostly stays correct.
    """
    if len(data) < 12 or chance.randrange(4) == 0:
        return mutation.any_bytes(data, chance)
    length = int.from_bytes(data[-8:-4], "little")
    if length > len(data) - 12:
        return mutation.any_bytes(data, chance)
    pages, footer = data[: len(data) - 8 - length], data[len(data) - 8 - length : -8]
    if chance.randrange(3) == 0:
        pages = b"PAR1" + mutation.any_bytes(pages[4:], chance)
    else:
        footer = mutation.any_bytes(footer, chance)
    return pages + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _csvs() -> list[bytes]:
    rows = write(_ROWS, CSV)
    wide = b",".join(b"c%d" % number for number in range(2000)) + b"\n" + b"," * 1999 + b"\n"
    return [rows, rows.replace(b",", b";"), rows.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + rows, wide]


def _zstd(body: bytes) -> bytes:
    kept = Kept()
    packed = CompressingSink(kept, "zstd")
    packed.write(body)
    packed.end()
    return bytes(kept.data)


def _ndjsons() -> list[bytes]:
    rows = write(_ROWS, NDJSON)
    others = b"".join(b'{"pclass":1,"sex":"male","field %d":[{"a":%d}]}\n' % (each, each) for each in range(50))
    return [rows, rows.replace(b"\n", b"\r\n"), rows + others]


def _packed(pack: str) -> list[bytes]:
    rows = [*_csvs(), *_ndjsons()]
    return [_zstd(each) if pack == "zstd" else gzip.compress(each, mtime=0) for each in rows]


_TEXT: Final = mutation.one_of(mutation.text, mutation.text, mutation.any_bytes)
_LINES: Final = mutation.one_of(mutation.json, mutation.text, mutation.any_bytes)

TARGETS: Final = (
    body_target("csv", _heads(CSV.media_type), _csvs, _TEXT, weight=4),
    body_target("ndjson", _heads(NDJSON.media_type), _ndjsons, _LINES, weight=4),
    body_target("arrow", _heads("application/vnd.apache.arrow.stream"), _arrows, mutation.any_bytes, weight=4),
    body_target("parquet", _heads("application/vnd.apache.parquet"), _parquets, _parquet, weight=1),
    body_target("csv-gzip", _packed_heads("gzip"), lambda: _packed("gzip"), mutation.compressed(_TEXT, 31), weight=2),
    body_target("csv-zstd", _packed_heads("zstd"), lambda: _packed("zstd"), mutation.any_bytes, weight=4),
)
