"""Base classes of tables: blocks of rows, independent of the format."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from arro3.core import Array, DataType, Field, RecordBatch, Schema

from server.codecs.tables import feature_columns
from server.codecs.tables.arrow_numpy import no_rows
from server.codecs.tables.feature_columns import Read, Values, missing, plain
from server.codecs.tables.limits import ARROW_ROWS, block_rows, check_names
from server.codecs.tables.row_bytes import TooLarge, cut
from server.errors import InvalidArgument, PayloadTooLarge
from server.models.quoting import field_name, misspelled, quoted_name, quoted_names
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
    words = f"expected values that {format_name} can hold; ?columns= leaves a column out: {error}"
    return InvalidArgument(f"{column}: {words[:300]}", field=column)


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
    def passed(self, names: Sequence[str], *, as_text: bool) -> list[Array]:
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

    def __init__(self, batch: RecordBatch, readers: Mapping[str, Read], faults: dict[int, Fault] | None = None) -> None:
        """Hold the rows of `batch`; `readers` read the features."""
        super().__init__(batch.num_rows, faults)
        self._columns = dict(zip(batch.column_names, batch.columns, strict=True))
        self._readers = readers

    def _values(self, column: Column) -> Values:
        name = column.feature.name
        return self._readers[name](self._columns[name]) if name in self._readers else missing(column, self.rows)

    def passed(self, names: Sequence[str], *, as_text: bool) -> list[Array]:
        """Return the columns `names`; features in text become numbers, unless `as_text`."""
        if as_text:
            return [self._columns[name] for name in names]
        return [self._read[name].typed() if name in self._texts else self._columns[name] for name in names]

    @property
    def _texts(self) -> Collection[str]:
        return ()


class TextBlock(ArrowBlock):
    """Rows as a record batch of text columns only."""

    @property
    def _texts(self) -> Collection[str]:
        return self._readers


def distinct(names: Sequence[str]) -> list[str]:
    """Return unique column names: a repeated name gets a number, `name (2)`.

    A further column without a name gets its position as the name, `column 6`.
    """
    used: set[str] = set()
    given = set(names)
    found = []
    for place, name in enumerate(names, 1):
        number, own = 1, name
        while own in used or (number > 1 and own in given):
            number += 1
            own = f"{name} ({number})" if name else f"column {place + number - 2}"
        used.add(own)
        found.append(own)
    return found


class Table(ABC):
    """A table that is being read: its columns, then its rows."""

    names: Sequence[str]
    """The columns in order, with unique names."""
    given_names: Sequence[str] = ()
    """The columns' names in the file, which may repeat; empty if there are none."""
    left_out: Mapping[str, str] = MappingProxyType({})
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

    def prepare(self, signature: Signature, added: Collection[str], max_string_bytes: int) -> None:  # noqa: ARG002 # subclasses use it
        """Prepare to read features from the columns.

        Raises InvalidArgument, naming the column, if the table can't be scored or already has one of the columns
        `added`.
        """
        check_names(self.names)
        for name in signature.by_name.keys() & self.left_out.keys():
            words = f"expected {signature.by_name[name].expectation()}; got a column of {self.left_out[name][:100]}"
            raise InvalidArgument(f"{name}: {words}", field=name)
        seen: set[str] = set()
        for name in self.given_names or self.names:
            if name in seen and name in signature.by_name:
                raise InvalidArgument(f"{quoted_name(name)}: expected each column once", field=field_name(name))
            if name in added:
                words = "expected no column of this name: it is reserved for predictions"
                raise InvalidArgument(f"{quoted_name(name)}: {words}", field=field_name(name))
            seen.add(name)
        lacking = [c.feature.name for c in signature.columns if c.feature.name not in seen and not c.feature.nullable]
        if lacking and not self.lacks_nothing():
            words = f"{quoted_names(lacking)} missing; got {quoted_names(self.names)}{misspelled(self.names, lacking)}"
            raise InvalidArgument(f"columns: {words}", field=lacking[0])
        absent = [name for name in signature.by_name if name not in seen]
        if absent and not self.lacks_nothing() and (words := misspelled(self.names, absent)):
            raise InvalidArgument(f"columns: no such feature{words}", field=absent[0])

    def lacks_nothing(self) -> bool:
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
        self._given = schema
        self.given_names = schema.names
        self.names = distinct(schema.names)
        fields = [schema.field(place) for place in range(len(self.names))]
        self._kinds = [plain(field.type) for field in fields]
        self._casts = [place for place, field in enumerate(fields) if self._kinds[place] != field.type]  # text types
        self.schema = Schema([Field(name, kind) for name, kind in zip(self.names, self._kinds, strict=True)])
        self._readers: dict[str, Read] = {}

    def prepare(self, signature: Signature, added: Collection[str], max_string_bytes: int) -> None:
        """Check the names, and that each feature's column has a possible type."""
        super().prepare(signature, added, max_string_bytes)
        for name, kind in zip(self.names, self._kinds, strict=True):
            column = signature.by_name.get(name)
            if column is not None:
                feature_columns.check_type(column, kind)
                self._readers[name] = self.reader(column, kind, max_string_bytes)

    def reader(self, column: Column, kind: DataType, max_string_bytes: int) -> Read:
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
        if not self._casts and self.names == self.given_names:
            return batch
        columns = batch.columns
        for place in self._casts:
            columns[place] = columns[place].cast(self._kinds[place])
        return RecordBatch.from_arrays(columns, schema=self.schema)


def is_nested(kind: DataType) -> bool:
    """Return whether values of this type contain other values, which text can't hold."""
    return DataType.is_nested(kind) and not DataType.is_dictionary(kind)
