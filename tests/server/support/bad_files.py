"""Arrow and Parquet files with one fault each, after the fuzz corpora of those projects."""

import io
import itertools
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tests.server.support import forged
from tests.server.support.tables import PASSENGERS

TABLE: Final = pa.table({name: values * 4 for name, values in PASSENGERS.items()})
MARKER: Final = b"\xff\xff\xff\xff"
NESTED: Final[dict[str, Any]] = {
    "codes": pa.array(["p", "q", None, "p"] * 4).dictionary_encode(),
    "lists": pa.array([["a", None], None, [], ["b"]] * 4),
    "views": pa.array(["p", "q" * 20, None, ""] * 4, pa.string_view()),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([4, 16], pa.int32()), pa.array(["a", "b"])),
    "union": pa.UnionArray.from_sparse(pa.array([0, 1] * 8, pa.int8()), [pa.array([1] * 16), pa.array(["a"] * 16)]),
}


def stream(table: pa.Table, codec: Any = None, *, file: bool = False) -> bytes:  # noqa: ANN401 # pyarrow's own
    """Return a table as an Arrow IPC stream or an IPC file."""
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(out, table.schema, options=options) as writer:
        writer.write_table(table)
    return out.getvalue()


def nested() -> pa.Table:
    """Return a table that also has columns of types with special readers."""
    table = TABLE
    for name, column in NESTED.items():
        table = table.append_column(name, column)
    return table


def _messages(body: bytes) -> list[tuple[int, int, int]]:
    """Return the start of each message, the start of its body, and its end."""
    found, at = [], 0
    while at + 8 <= len(body) and (size := struct.unpack_from("<i", body, at + 4)[0]) > 0:
        start = at + 8 + size
        metadata = memoryview(body)[at + 8 : start]
        root = struct.unpack_from("<I", metadata)[0]
        vtable = root - struct.unpack_from("<i", metadata, root)[0]
        slots = struct.unpack_from("<H", metadata, vtable)[0]
        offset = struct.unpack_from("<H", metadata, vtable + 10)[0] if slots > 10 else 0
        end = start + (struct.unpack_from("<q", metadata, root + offset)[0] if offset else 0)
        found.append((at, start, end))
        at = end
    return found


def _changed(body: bytes, place: int, data: bytes) -> bytes:
    return body[:place] + data + body[place + len(data) :]


def _each_number(body: bytes, numbers: tuple[int, ...]) -> Iterator[bytes]:
    """Yield streams with one wrong length, offset or count in the last batch's metadata."""
    start, stop, _ = _messages(body)[-1]
    for place, number in itertools.product(range(start + 8, stop - 7, 8), numbers):
        yield _changed(body, place, struct.pack("<q", number))


def _replaced(column: Any, old: bytes, new: bytes) -> bytes:  # noqa: ANN401 # a pyarrow column
    """Return a stream with `old` replaced by `new` in a column: pyarrow writes only valid ones."""
    sound = stream(pa.table(PASSENGERS).append_column("x", column))
    assert sound.count(old) == 1
    return sound.replace(old, new)


def _offsets(wrong: list[int], *, lists: bool) -> bytes:
    """Return a stream with a column of strings or lists that has these offsets."""
    texts = ["a", "bc", "def", "gh"]
    column = pa.array([[ord(each) for each in text] for text in texts] if lists else texts)
    return _replaced(column, struct.pack("<5i", 0, 1, 3, 6, 8), struct.pack("<5i", *wrong))


def _codes(wrong: list[int], values: list[Any]) -> bytes:
    """Return a stream with a dictionary column with these indices, some out of range."""
    column = pa.DictionaryArray.from_arrays(pa.array([0, 3, 1, 2], pa.int32()), pa.array(values))
    return _replaced(column, struct.pack("<4i", 0, 3, 1, 2), struct.pack("<4i", *wrong))


def _text(wrong: bytes) -> bytes:
    """Return a stream with a string column that is not valid UTF-8."""
    return _replaced(pa.array(["w#x#y#z#", "b", "c", "d"]), b"w#x#y#z#", wrong.ljust(8))


def _deep(depth: int, grown: Callable[[Any], Any]) -> bytes:
    column: Any = pa.array([1, 2, 3, 4])
    for _ in range(depth):
        column = grown(column)
    return stream(pa.table(PASSENGERS).append_column("x", column))


def _parquet(**options: Any) -> bytes:  # noqa: ANN401
    out = io.BytesIO()
    pq.write_table(TABLE, out, **options)
    return out.getvalue()


def _truncated(sound: bytes) -> Iterator[bytes]:
    return (sound[:end] for end in range(9, len(sound) - 9, 97))


def _wrong_markers(sound: bytes) -> Iterator[bytes]:
    return iter([b"\xfe" + sound[1:], b"ARROW1\0\0" + sound[4:]])


def _metadata_lengths(sound: bytes) -> Iterator[bytes]:
    return (_changed(sound, 4, struct.pack("<i", each)) for each in (-1, 0, 1, 7, 2**31 - 1))


def _numbers(sound: bytes) -> Iterator[bytes]:
    return _each_number(sound, (-1, 5, 2**31, 2**62))


def _wrong_order(sound: bytes) -> Iterator[bytes]:
    """Yield streams without a schema, with two schemas, and with the last batch twice."""
    schema, last = _messages(sound)[0], _messages(sound)[-1]
    yield sound[schema[2] :]
    yield sound[: schema[2]] + sound
    yield sound[: last[2]] + sound[last[0] : last[2]] + sound[last[2] :]


def _schema_bytes(sound: bytes) -> Iterator[bytes]:
    """Yield streams with one changed byte in the schema: unknown types, units and names."""
    start, stop, _ = _messages(sound)[0]
    return (_changed(sound, at, bytes([each])) for at in range(start + 8, stop, 5) for each in (0, 26, 255))


def _noise(sound: bytes) -> Iterator[bytes]:
    _, start, stop = _messages(sound)[-1]
    yield sound[:start] + b"\xff" * (stop - start) + sound[stop:]


def _wrong_offsets(*, lists: bool) -> Iterator[bytes]:
    wrong = ([0, 4, 2, 4, 6], [-1, 0, 1, 2, 3], [0, 1, 2, 3, 99], [2**31 - 1, 0, 0, 0, 0])
    return (_offsets(each, lists=lists) for each in wrong)


def _wrong_codes() -> Iterator[bytes]:
    yield from (_codes(each, ["a", "b", "c", "d"]) for each in ([0, 4, 0, 0], [-1, 0, 0, 0], [127] * 4))
    yield _codes([0, 9, 0, 0], [[1], [2], [3], [4]])


def _no_utf8() -> Iterator[bytes]:
    return (_text(each) for each in (b"\xff", b"a\xc3", b"\xed\xa0\x80"))


def _nested_deep() -> Iterator[bytes]:
    yield _deep(60, lambda column: pa.ListArray.from_arrays(pa.array(range(5), pa.int32()), column))
    yield _deep(60, lambda column: pa.StructArray.from_arrays([column], ["a"]))


def _overlapping(sound: bytes) -> Iterator[bytes]:
    return forged.overlapping_buffers(sound, _messages(sound)[-1][0])


def _duplicate_ids() -> Iterator[bytes]:
    """Yield streams with two dictionary columns, strings and numbers, that have the same id."""
    codes: dict[str, Any] = {
        "x": pa.array(["p", "q", None, "p"]).dictionary_encode(),
        "y": pa.array([1, 2, 3, 1]).dictionary_encode(),
    }
    sound = stream(pa.table(PASSENGERS | codes))
    found = _messages(sound)
    return forged.duplicate_ids(sound, [start for start, _, _ in found], found[-1][2])


def _wrong_files() -> Iterator[bytes]:
    sound = stream(TABLE, file=True)
    yield from (sound[:end] for end in range(9, len(sound), 201))
    yield sound[:400] + b"\xff" * 64 + sound[464:]


def _parquet_faults(sound: bytes) -> Iterator[bytes]:
    footer, end = struct.unpack("<I", sound[-8:-4])[0], len(sound) - 8
    yield from (sound[:stop] for stop in (4, 11, len(sound) // 2, len(sound) - 1))
    yield from (sound[:end] + struct.pack("<I", each) + sound[end + 4 :] for each in (0, 1, 2**31, 2**32 - 1))
    yield sound[: end - footer] + b"\xff" * footer + sound[end:]
    yield sound[:40] + b"\xff" * 64 + sound[104:]
    yield from (_changed(sound, at, b"\x7f") for at in range(end - footer, end, 151))


_OF_STREAMS: Final[Mapping[str, Callable[[bytes], Iterator[bytes]]]] = {
    "truncated": _truncated,
    "markers": _wrong_markers,
    "lengths of metadata": _metadata_lengths,
    "lengths, offsets and counts": _numbers,
    "order of messages": _wrong_order,
    "bytes of the schema": _schema_bytes,
    "body of noise": _noise,
    "overlapping buffers": _overlapping,
}
_STREAMS: Final = {"plain": stream(TABLE), "nested": stream(nested()), "lz4": stream(TABLE, "lz4")}
_PARQUETS: Final[Mapping[str, dict[str, Any]]] = {
    "snappy": {},
    "zstd": {"compression": "zstd"},
    "plain": {"use_dictionary": False},
}
FAULTS: Final[Mapping[str, Callable[[], Iterator[bytes]]]] = {
    **{
        f"arrow {name}: {fault}": partial(make, sound)
        for name, sound in _STREAMS.items()
        for fault, make in _OF_STREAMS.items()
    },
    "arrow: offsets of strings": partial(_wrong_offsets, lists=False),
    "arrow: offsets of lists": partial(_wrong_offsets, lists=True),
    "arrow: codes": _wrong_codes,
    "arrow: no UTF-8": _no_utf8,
    "arrow: nested deep": _nested_deep,
    "arrow: schemas nested deeper": lambda: itertools.chain(forged.nested_schemas(50), forged.nested_schemas(100_000)),
    "arrow: duplicate ids": _duplicate_ids,
    "parquet: nested deep": lambda: forged.nested_footers(100_000),
    "arrow: files": _wrong_files,
    **{f"parquet {name}": partial(_parquet_faults, _parquet(**options)) for name, options in _PARQUETS.items()},
}
"""The generator of faulty files for each kind of fault."""
