"""Read an Arrow or Parquet file in a separate process: standard input to standard output.

The library trusts the sizes that a file states. If they are wrong, or only unusual, it allocates any amount of memory
or ends its process, which must not be the server's. This process reads under a memory limit. Its output is:

- JSON, with `left_out`: the columns that can't be passed on, and their types.
- An Arrow IPC stream of plain types in batches of bounded size: no dictionaries, views, run-ends, list views or unions.

It imports as little of the server as possible, so that it starts quickly.
"""

import io
import json
import os
import sys
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arro3.core import DataType, RecordBatch, Schema

HEAD_DIGITS: Final = 9
"""Digits of the JSON's length, which precedes the JSON."""
_END: Final = b"\xff\xff\xff\xff\0\0\0\0"
_PAGES: Final = "/proc/self/statm"
_OOM: Final = "/proc/self/oom_score_adj"
_WRITTEN_FACTOR: Final = 2
"""Factor of the memory limit for the size of a written record batch. It is written in blocks, and the values of
dictionaries and views are repeated.
"""
_LIST_VIEW_ROWS: Final = 16
"""Rows of list views to decode at a time. Their elements may overlap, and are counted only after decoding."""


class Options(NamedTuple):
    """Input and limits of the process."""

    kind: str
    """parquet, ipc (an Arrow file) or stream (an Arrow IPC stream)."""
    max_bytes: int
    """Memory in addition to the process's memory at its start."""
    max_columns: int
    batch_rows: int
    batch_cells: int
    """Rows times columns of a batch."""
    needed: frozenset[str] | None
    """Columns whose values are needed, None: all. The others are passed on as nulls."""


class RejectedError(Exception):
    """Error for a file that can't be scored: error code, message, column at fault."""

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(code, message, field)


def parse_arguments(arguments: list[str]) -> Options:
    """Return the options in the command's arguments: kind, numbers, and names as JSON."""
    kind, *numbers, names = arguments
    max_bytes, max_columns, batch_rows, batch_cells = map(int, numbers)
    needed_names = json.loads(names)
    needed = None if needed_names is None else frozenset(needed_names)
    return Options(kind, max_bytes, max_columns, batch_rows, batch_cells, needed)


def main(options: Options) -> int:
    """Read one file and return the exit status.

    On failure the last line on standard error is a report: code, message and column as JSON.
    """
    _limit_memory(options.max_bytes)
    try:
        _convert(options, open(0, "rb", buffering=0))  # noqa: SIM115 # the file closes when the process ends
    except BaseException as error:  # noqa: BLE001 # the library's panics are no Exception
        message = str(error) if not isinstance(error, MemoryError) else "MemoryError"
        report = error.args if isinstance(error, RejectedError) else ("invalid_argument", message, None)
        code, message, field = report
        os.write(2, b"\n" + json.dumps([code, message[:500], field and field[:500]]).encode())
        return 1
    return 0


def _convert(options: Options, source: IO[bytes]) -> None:
    from arro3.core import Field, Schema

    from server.codecs.tables.projection import fill_with_nulls, needed_columns, select_fields, with_nulls

    reader, rows = _open_reader(options, source)
    file_schema: Schema = reader.schema
    fields = [file_schema.field(index) for index in range(len(file_schema))]
    kinds = [plain_type(field.type) for field in fields]
    passed_columns = [(index, kind) for index, kind in enumerate(kinds) if kind is not None]
    if not passed_columns:
        raise RejectedError("invalid_argument", "columns: expected columns of other types: none of these can be read")
    omitted_columns = {fields[n].name: type_name(fields[n].type) for n, kind in enumerate(kinds) if kind is None}
    head = json.dumps({"left_out": omitted_columns}).encode()
    _write(b"%0*d" % (HEAD_DIGITS, len(head)) + head)
    is_needed = needed_columns([fields[index].name for index, _ in passed_columns], options.needed)
    schema = Schema([Field(fields[index].name, kind, nullable=True) for index, kind in passed_columns])
    indices = [index for (index, _), each in zip(passed_columns, is_needed, strict=True) if each]
    pieces = _Pieces(reader, indices, select_fields(schema, is_needed), rows, options.max_bytes)
    schema = with_nulls(schema, is_needed)
    header = _stream(schema, [])
    _write(header[: -len(_END)])
    for piece in fill_with_nulls(pieces, schema, is_needed):
        _write(_stream(schema, [piece])[len(header) - len(_END) : -len(_END)])
    _write(_END)


def _stream(schema: "Schema", batches: "list[RecordBatch]") -> memoryview:
    """Return a complete stream of these batches."""
    from arro3.core import RecordBatchReader
    from arro3.io import write_ipc_stream

    out = io.BytesIO()
    write_ipc_stream(RecordBatchReader.from_batches(schema, batches), out, compression=None)
    return out.getbuffer()


def _write(data: bytes | memoryview) -> None:
    """Write to standard output, unbuffered: rows are scored while the next ones are read."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def _open_reader(options: Options, source: IO[bytes]) -> tuple[Any, int]:
    """Return a reader of the file, and the maximum rows of a batch."""
    from arro3.io import read_ipc, read_ipc_stream, read_parquet

    from server.codecs.tables.parquet_footer import row_bytes
    from server.codecs.tables.row_bytes import BLOCK_BYTES

    def open_reader(rows: int) -> Any:  # noqa: ANN401
        if options.kind == "parquet":
            return read_parquet(source, batch_size=rows)
        return read_ipc(source) if options.kind == "ipc" else read_ipc_stream(source)

    reader = open_reader(options.batch_rows)
    columns = len(reader.schema)
    if columns > options.max_columns:
        raise RejectedError(
            "payload_too_large", f"columns: expected at most {options.max_columns}; got {columns}", "columns"
        )
    rows = max(1, min(options.batch_rows, options.batch_cells // max(columns, 1)))
    if options.kind == "parquet":
        rows = max(1, min(rows, BLOCK_BYTES // max(row_bytes(source), 1)))
    if options.kind == "parquet" and rows < options.batch_rows:
        source.seek(0)
        reader = open_reader(rows)
    return reader, rows


class _Pieces:
    """The batches of a file in plain types and bounded sizes."""

    def __init__(self, reader: Any, indices: list[int], schema: "Schema", rows: int, max_bytes: int) -> None:  # noqa: ANN401
        """Yield the columns at `indices` of `reader`, in the types of `schema`.

        A piece has at most `rows` rows. A record batch may take up to _WRITTEN times `max_bytes` when written.
        """
        self._reader = reader
        self._indices = indices
        self._schema = schema
        file_schema = reader.schema
        self._source_types = [file_schema.field(index).type for index in indices]
        self._types = [schema.field(index).type for index in range(len(schema))]
        self._cast_indices = [n for n, kind in enumerate(self._types) if kind != self._source_types[n]]
        self._has_list_views = any("ListView" in type_name(kind) for kind in self._source_types)
        self._rows = min(rows, _LIST_VIEW_ROWS) if self._has_list_views else rows
        has_encodings = bool(self._cast_indices) or any(_is_nested(kind) for kind in self._types)
        self._written_bytes = _WRITTEN_FACTOR * max_bytes if has_encodings else None

    def __iter__(self) -> "Iterator[RecordBatch]":
        from server.codecs.tables.row_bytes import TooLarge

        try:
            for batch in self._reader:
                yield from self._cut(batch.select(self._indices))
        except TooLarge as error:
            raise RejectedError("payload_too_large", f"body: expected {error}") from None

    def _cut(self, batch: "RecordBatch") -> "Iterator[RecordBatch]":
        from server.codecs.tables.row_bytes import cut

        for piece in cut(batch, self._rows, self._written_bytes):
            plain_piece = self._cast(piece)
            if self._has_list_views:
                yield from cut(plain_piece, self._rows, self._written_bytes)
            else:
                yield plain_piece

    def _cast(self, piece: "RecordBatch") -> "RecordBatch":
        """Return the rows of `piece` in plain types."""
        from arro3.core import RecordBatch

        columns = piece.columns
        for index in self._cast_indices:
            columns[index] = columns[index].cast(self._types[index])
        return RecordBatch.from_arrays(columns, schema=self._schema)


def plain_type(kind: "DataType") -> "DataType | None":  # noqa: C901, PLR0911 # a branch per type
    """Return the type in which a column is passed on; None for unsupported types."""
    from arro3.core import DataType, Field

    name = type_name(kind)
    if name.startswith(_UNSUPPORTED):
        return None
    if DataType.is_dictionary(kind) or name.startswith("RunEndEncoded("):
        return None if kind.value_type is None else plain_type(kind.value_type)
    if DataType.is_string(kind) or DataType.is_large_string(kind) or DataType.is_string_view(kind):
        return DataType.utf8()
    if DataType.is_binary_view(kind):
        return DataType.binary()
    if DataType.is_struct(kind):
        inner = [(field.name, plain_type(field.type)) for field in kind.fields or []]
        if any(each is None for _, each in inner):
            return None
        return DataType.struct([Field(name, each, nullable=True) for name, each in inner])
    if DataType.is_map(kind):
        return None if any(word in name for word in _UNSUPPORTED_IN_MAP) else kind
    if kind.value_field is None:
        return kind
    element = plain_type(kind.value_field.type)
    if element is None:
        return None
    field = Field(kind.value_field.name, element, nullable=True)
    if DataType.is_fixed_size_list(kind):
        return DataType.list(field, kind.list_size)
    is_large = DataType.is_large_list(kind) or DataType.is_large_list_view(kind)
    return DataType.large_list(field) if is_large else DataType.list(field)


_UNSUPPORTED: Final = ("Union(", "Interval(", "FixedSizeBinary(0)")
"""Prefixes of types that are excluded: no other type can hold their values."""
_UNSUPPORTED_IN_MAP: Final = (*_UNSUPPORTED, "Dictionary(", "View", "RunEndEncoded(")
"""Types that exclude a map: the library describes a map's contents only as text."""


def _is_nested(kind: "DataType") -> bool:
    from arro3.core import DataType

    return DataType.is_nested(kind)


def type_name(kind: "DataType") -> str:
    """Return a type's name as the library writes it."""
    return repr(kind).strip().removeprefix("arro3.core.DataType<").removesuffix(">")


def _limit_memory(max_bytes: int) -> None:
    """Allow `max_bytes` of memory in addition to current use, and no core file.

    A system without such limits is not changed.
    """
    with suppress(OSError), open(_OOM, "w", encoding="ascii") as file:  # noqa: PTH123 # saves an import
        file.write("1000")  # if a container is out of memory, the kernel ends this process, not the server
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with open(_PAGES, encoding="ascii") as file:  # noqa: PTH123 # saves an import
            now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + max_bytes, now + max_bytes))


if __name__ == "__main__":
    os._exit(main(parse_arguments(sys.argv[1:])))
