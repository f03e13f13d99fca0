"""Base classes of tables: blocks of rows, independent of the format."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from arro3.core import Array, DataType, Field, RecordBatch, Schema

from server.codecs.tables import feature_columns
from server.codecs.tables.arrow_numpy import no_rows
from server.codecs.tables.feature_columns import FeatureReader, Values, missing, plain_type
from server.codecs.tables.limits import ARROW_ROWS, block_rows, check_names
from server.codecs.tables.row_bytes import TooLarge, cut
from server.errors import InvalidArgument, PayloadTooLarge
from server.models.quoting import field_name, misspelling_hint, quoted_name, quoted_names
from server.models.signature import Column, Signature


class Source(Protocol):
    """A stream of bytes that a thread reads."""

    @property
    def failure(self) -> Exception | None:
        """Error that ended the stream early, or None: libraries raise their own instead.

        Another thread may set it at any time: the client disconnected, or a deadline passed. A long loop without reads
        calls `check`.
        """

    def read(self, size: int = -1, /) -> bytes:
        """Return at least one byte and at most `size`; no bytes at the end."""


class Sink(Protocol):
    """A destination that a thread writes a stream of bytes to."""

    @property
    def failure(self) -> Exception | None:
        """Error that ended the writing, or None."""

    def write(self, data: bytes, /) -> int:
        """Accept bytes to be sent soon. Return their number."""

    def flush(self) -> None:
        """Send the accepted bytes."""


def check(stream: "Source | Sink") -> None:
    """Raise the failure of a stream, if it has one."""
    if stream.failure is not None:
        raise stream.failure


def unwritable(format_name: str, error: BaseException, column: str = "columns") -> InvalidArgument:
    """Return the error for a column's value that a library can't write in a format."""
    message = f"expected values that {format_name} can hold; ?columns= leaves a column out: {error}"
    return InvalidArgument(f"{column}: {message[:300]}", field=column)


class Fault(NamedTuple):
    """Reason why a row can't be scored."""

    column: str | None
    reason: str


class Block(ABC):
    """Consecutive rows of a table."""

    def __init__(self, rows: int, faults: dict[int, Fault] | None = None) -> None:
        """Hold `rows` rows; a row in `faults` is read as nulls."""
        self.rows = rows
        self.faults = faults or {}
        """Index of a row in the block to the row's fault."""
        self._read: dict[str, Values] = {}

    def values(self, column: Column) -> Values:
        """Return a feature's values; all null if the table has no column for it."""
        name = column.feature.name
        if name not in self._read:
            self._read[name] = self._values(column)
        return self._read[name]

    @abstractmethod
    def _values(self, column: Column) -> Values: ...

    @abstractmethod
    def passed_columns(self, names: Sequence[str], *, as_text: bool) -> list[Array]:
        """Return the columns `names` to pass on to the response.

        `as_text`: columns of text stay text. Otherwise features in them become their type.
        """

    def lines(self, names: Sequence[str] | None) -> Sequence[bytes] | None:  # noqa: ARG002 # NDJSON uses it
        """Return the rows as written, JSON objects without line ends; None for other formats.

        `names` limits the rows to these fields; None: all fields.
        """
        return None


class ArrowBlock(Block):
    """Rows as a record batch, each column in the type that is passed on."""

    def __init__(
        self, batch: RecordBatch, readers: Mapping[str, FeatureReader], faults: dict[int, Fault] | None = None
    ) -> None:
        """Hold the rows of `batch`; `readers` read the features."""
        super().__init__(batch.num_rows, faults)
        self._columns = dict(zip(batch.column_names, batch.columns, strict=True))
        self._readers = readers

    def _values(self, column: Column) -> Values:
        name = column.feature.name
        return self._readers[name](self._columns[name]) if name in self._readers else missing(column, self.rows)

    def passed_columns(self, names: Sequence[str], *, as_text: bool) -> list[Array]:
        """Return the columns `names`; features in text become numbers, unless `as_text`."""
        if as_text:
            return [self._columns[name] for name in names]
        return [self._read[name].to_arrow() if name in self._text_names else self._columns[name] for name in names]

    @property
    def _text_names(self) -> Collection[str]:
        return ()


class TextBlock(ArrowBlock):
    """Rows as a record batch of text columns only."""

    @property
    def _text_names(self) -> Collection[str]:
        return self._readers


def unique_names(names: Sequence[str]) -> list[str]:
    """Return unique column names: a repeated name gets a number, `name (2)`.

    A further column without a name gets its position as the name, `column 6`.
    """
    used: set[str] = set()
    names_in_file = set(names)
    unique = []
    for index, name in enumerate(names, 1):
        number, unique_name = 1, name
        while unique_name in used or (number > 1 and unique_name in names_in_file):
            number += 1
            unique_name = f"{name} ({number})" if name else f"column {index + number - 2}"
        used.add(unique_name)
        unique.append(unique_name)
    return unique


class Table(ABC):
    """A table that is being read: its columns, then its rows."""

    names: Sequence[str]
    """The columns in order, with unique names."""
    original_names: Sequence[str] = ()
    """The columns' names in the file, which may repeat; empty if there are none."""
    omitted_columns: Mapping[str, str] = MappingProxyType({})
    """Columns that can't be passed on, and their types. They are not in `names`."""
    is_text: bool = False
    """Whether the columns have no known types."""
    delimiter: str | None = None
    """Delimiter between the columns of a CSV file."""

    @abstractmethod
    def empty(self) -> Block:
        """Return a block of no rows that has every column in its type."""

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """Yield the rows. Raises RequestError if the stream is not a valid table."""

    def prepare(self, signature: Signature, reserved_names: Collection[str], max_string_bytes: int) -> None:  # noqa: ARG002 # subclasses use it
        """Prepare to read features from the columns.

        Raises InvalidArgument, naming the column, if the table can't be scored or already has one of the columns
        `reserved_names`.
        """
        check_names(self.names)
        for name in signature.by_name.keys() & self.omitted_columns.keys():
            message = (
                f"expected {signature.by_name[name].expectation()}; got a column of {self.omitted_columns[name][:100]}"
            )
            raise InvalidArgument(f"{name}: {message}", field=name)
        given_names: set[str] = set()
        for name in self.original_names or self.names:
            if name in given_names and name in signature.by_name:
                raise InvalidArgument(f"{quoted_name(name)}: expected each column once", field=field_name(name))
            if name in reserved_names:
                message = "expected no column of this name: it is reserved for predictions"
                raise InvalidArgument(f"{quoted_name(name)}: {message}", field=field_name(name))
            given_names.add(name)
        missing_names = [
            c.feature.name for c in signature.columns if c.feature.name not in given_names and not c.feature.nullable
        ]
        if missing_names and not self.has_columns_per_row():
            hint = misspelling_hint(self.names, missing_names)
            message = f"{quoted_names(missing_names)} missing; got {quoted_names(self.names)}{hint}"
            raise InvalidArgument(f"columns: {message}", field=missing_names[0])
        absent = [name for name in signature.by_name if name not in given_names]
        if absent and not self.has_columns_per_row() and (hint := misspelling_hint(self.names, absent)):
            raise InvalidArgument(f"columns: no such feature{hint}", field=absent[0])

    def has_columns_per_row(self) -> bool:
        """Return whether each row has its own columns, so that the table lacks none."""
        return False

    def on_wait(self, flush: Callable[[], None]) -> None:  # noqa: B027 # most wait for their source
        """Call `flush` when the table waits for anything but its source."""

    def close(self) -> None:  # noqa: B027 # most tables have no reader to close
        """Release the table's reader."""


class ArrowTable(Table):
    """A table whose columns have types."""

    def __init__(self, schema: Schema) -> None:
        """Read a table of this schema."""
        self._file_schema = schema
        self.original_names = schema.names
        self.names = unique_names(schema.names)
        fields = [schema.field(index) for index in range(len(self.names))]
        self._types = [plain_type(field.type) for field in fields]
        self._cast_indices = [n for n, field in enumerate(fields) if self._types[n] != field.type]  # text types
        self.schema = Schema([Field(name, kind) for name, kind in zip(self.names, self._types, strict=True)])
        self._readers: dict[str, FeatureReader] = {}

    def prepare(self, signature: Signature, reserved_names: Collection[str], max_string_bytes: int) -> None:
        """Check the names, and that each feature's column has a possible type."""
        super().prepare(signature, reserved_names, max_string_bytes)
        for name, kind in zip(self.names, self._types, strict=True):
            column = signature.by_name.get(name)
            if column is not None:
                feature_columns.check_type(column, kind)
                self._readers[name] = self.reader(column, kind, max_string_bytes)

    def reader(self, column: Column, kind: DataType, max_string_bytes: int) -> FeatureReader:
        """Return the reader of a feature from a column of this type."""
        return feature_columns.reader(column, kind, max_string_bytes)

    def empty(self) -> Block:
        """Return a block of no rows."""
        return self.block(no_rows(self.schema))

    def block(self, batch: RecordBatch, faults: dict[int, Fault] | None = None) -> Block:
        """Return the rows of a batch as a block."""
        return ArrowBlock(batch, self._readers, faults)

    def slices(self, batch: RecordBatch) -> Iterator[Block]:
        """Yield the rows of a batch of any size as blocks.

        Raises PayloadTooLarge for a row that takes too many bytes.
        """
        try:
            for part in cut(batch, block_rows(self.names, ARROW_ROWS)):
                yield self.block(self._cast(part))
        except TooLarge as error:
            raise PayloadTooLarge(f"body: expected {error}") from None

    def _cast(self, batch: RecordBatch) -> RecordBatch:
        """Return rows in the types that are passed on."""
        if not self._cast_indices and self.names == self.original_names:
            return batch
        columns = batch.columns
        for index in self._cast_indices:
            columns[index] = columns[index].cast(self._types[index])
        return RecordBatch.from_arrays(columns, schema=self.schema)


def is_nested(kind: DataType) -> bool:
    """Return whether values of this type contain other values, which text can't hold."""
    return DataType.is_nested(kind) and not DataType.is_dictionary(kind)
