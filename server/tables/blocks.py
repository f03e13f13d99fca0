"""Some rows of a table at a time, whatever it is written as."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from arro3.core import Array, DataType, Field, RecordBatch, Schema

from server.errors import InvalidArgument, PayloadTooLarge
from server.signature import Column, Signature
from server.tables import features
from server.tables.arrays import inner_bytes, longest_text, no_rows
from server.tables.features import Read, Values, missing, plain

TEXT_ROWS: Final = 2048
"""Rows of text that are read, scored and written at a time: few enough that nobody waits long for their turn."""
ARROW_ROWS: Final = 4096
"""The same of what is no text, and read and written faster."""
MAX_SPREAD_BYTES: Final = 32 * 1024 * 1024
"""Bytes of text that rows of a dictionary, or of views, may come to: fewer are taken at a time where they would."""
MAX_INNER_BYTES: Final = 128 * 1024 * 1024
"""The same of all that one record batch has inside of lists and structures."""
MAX_RECORD_BYTES: Final = 1024 * 1024
"""Bytes that one row of text may have: what a quote that is never closed can take hold of."""


class Source(Protocol):
    """A stream of bytes that is read from a thread."""

    @property
    def failure(self) -> Exception | None:
        """What ended the stream before its end, if anything did: libraries put their own in its place."""

    def read(self, size: int = -1, /) -> bytes:
        """Return what there is of the stream, at least one byte, at most `size`; none at its end."""


class Sink(Protocol):
    """Where a stream of bytes is written to from a thread."""

    @property
    def failure(self) -> Exception | None:
        """What ended the writing, if anything did."""

    def write(self, data: bytes, /) -> int:
        """Take bytes to be sent soon. Returns their number."""

    def flush(self) -> None:
        """Have what was taken sent."""


def unwritable(form: str, error: BaseException) -> InvalidArgument:
    """Return what a caller is told of a value that a library can't write in a form."""
    words = f"expected values that {form} can hold; ?columns= leaves a column out: {error}"
    return InvalidArgument(f"columns: {words[:300]}", field="columns")


class Fault(NamedTuple):
    """Why a row can't be scored."""

    column: str | None
    reason: str


class Block(ABC):
    """Rows that follow each other."""

    def __init__(self, rows: int, faults: dict[int, Fault] | None = None) -> None:
        """Hold `rows` rows, of which some may be wrong as a whole: those read as nothing but nulls."""
        self.rows = rows
        self.faults = faults or {}
        """Row in the block to what is wrong with it."""
        self._read: dict[str, Values] = {}

    def values(self, column: Column) -> Values:
        """Return a feature's values; all null where the table has no column for it."""
        name = column.feature.name
        if name not in self._read:
            self._read[name] = self._values(column)
        return self._read[name]

    @abstractmethod
    def _values(self, column: Column) -> Values: ...

    @abstractmethod
    def passed(self, names: Sequence[str], *, as_text: bool) -> list[Array]:
        """Return the columns called so as they are passed on; where they are text, as it stands, if `as_text`."""

    @property
    def lines(self) -> Sequence[bytes] | None:
        """The rows as they were written, without line ends, where each can be passed on as it is: JSON objects."""
        return None


class ArrowBlock(Block):
    """Rows as a record batch, each column in the form that it is passed on in."""

    def __init__(self, batch: RecordBatch, readers: Mapping[str, Read], faults: dict[int, Fault] | None = None) -> None:
        """Hold the rows of `batch`, of which `readers` read the features."""
        super().__init__(batch.num_rows, faults)
        self._columns = dict(zip(batch.column_names, batch.columns, strict=True))
        self._readers = readers

    def _values(self, column: Column) -> Values:
        name = column.feature.name
        return self._readers[name](self._columns[name]) if name in self._readers else missing(column, self.rows)

    def passed(self, names: Sequence[str], *, as_text: bool) -> list[Array]:
        """Return the columns called so: of text the features as the numbers they are, unless `as_text`."""
        if as_text:
            return [self._columns[name] for name in names]
        return [self._read[name].typed() if name in self._texts else self._columns[name] for name in names]

    @property
    def _texts(self) -> Collection[str]:
        return ()


class TextBlock(ArrowBlock):
    """Rows as a record batch of nothing but text."""

    @property
    def _texts(self) -> Collection[str]:
        return self._readers


def check_names(names: Iterable[str]) -> None:
    """Raise InvalidArgument for a name that the library can't have: it would end the process."""
    if any("\0" in name for name in names):
        raise InvalidArgument("columns: expected names without NUL characters", field="columns")


class Table(ABC):
    """A table that is being read: its columns, then its rows."""

    names: Sequence[str]
    """The columns, in their order."""
    is_text: bool = False
    """Whether nothing is known of a column's type."""
    delimiter: str | None = None
    """What stands between the columns of a CSV file."""

    @abstractmethod
    def empty(self) -> Block:
        """Return a block of no rows that has every column in its type."""

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """Yield the rows. Raises RequestError where the stream is no such table after all."""

    def prepare(self, signature: Signature, added: Collection[str], max_string_bytes: int) -> None:  # noqa: ARG002 # its readers'
        """Get ready to read features from the columns.

        Raises InvalidArgument, naming the column, unless this table can be scored and take the columns `added`.
        """
        check_names(self.names)
        seen: set[str] = set()
        for name in self.names:
            if name in seen:
                raise InvalidArgument(f"{name}: expected each column once", field=name)
            if name in added:
                raise InvalidArgument(f"{name}: expected no column of this name: the answers are called so", field=name)
            seen.add(name)
        lacking = [c.feature.name for c in signature.columns if c.feature.name not in seen and not c.feature.nullable]
        if lacking and not self.lacks_nothing():
            shown = ", ".join(self.names)[:200]
            raise InvalidArgument(f"columns: {', '.join(lacking)} missing; got {shown}", field=lacking[0])

    def lacks_nothing(self) -> bool:
        """Return whether each row has columns of its own, so that none lacks in all."""
        return False

    def close(self) -> None:  # noqa: B027 # most are read by nothing that must be
        """Let go of what the table is read by."""


class ArrowTable(Table):
    """A table whose columns have types."""

    def __init__(self, schema: Schema) -> None:
        """Read a table of this schema."""
        self._given = schema
        self.names = schema.names
        fields = [schema.field(place) for place in range(len(self.names))]
        self._kinds = [plain(field.type) for field in fields]
        self._casts = [
            place for place, field in enumerate(fields) if self._kinds[place] != field.type
        ]  # dictionaries, views, long strings
        self.schema = Schema([Field(f.name, kind) for f, kind in zip(fields, self._kinds, strict=True)])
        self._readers: dict[str, Read] = {}

    def prepare(self, signature: Signature, added: Collection[str], max_string_bytes: int) -> None:
        """Check the names, and that each feature's column has a type that it may have."""
        super().prepare(signature, added, max_string_bytes)
        for name, kind in zip(self.names, self._kinds, strict=True):
            column = signature.by_name.get(name)
            if column is not None:
                features.check_type(column, kind)
                self._readers[name] = features.reader(column, kind, max_string_bytes)

    def empty(self) -> Block:
        """Return a block of no rows."""
        return self.block(no_rows(self.schema))

    def block(self, batch: RecordBatch, faults: dict[int, Fault] | None = None) -> Block:
        """Return the rows of a batch as a block."""
        return ArrowBlock(batch, self._readers, faults)

    def slices(self, batch: RecordBatch) -> Iterator[Block]:
        """Yield the rows of a batch of any size, as it was read. Raises InvalidArgument for what can't be passed on."""
        for name, kind, array in zip(self.names, self._kinds, batch.columns, strict=True):
            if is_nested(kind) and inner_bytes(array) > MAX_INNER_BYTES:
                words = f"expected lists and structures of at most {MAX_INNER_BYTES} bytes in all of a record batch"
                raise PayloadTooLarge(f"{name}: {words}", field=name)
        longest = max((longest_text(batch.columns[place]) for place in self._casts), default=0)
        step = max(1, min(ARROW_ROWS, MAX_SPREAD_BYTES // (longest or 1)))
        for start in range(0, batch.num_rows, step):
            yield self.block(self._cast(batch.slice(start, min(step, batch.num_rows - start))))

    def _cast(self, batch: RecordBatch) -> RecordBatch:
        """Return rows in the types that they are passed on in."""
        if not self._casts:
            return batch
        columns = batch.columns
        for place in self._casts:
            try:
                columns[place] = columns[place].cast(self._kinds[place])
            except Exception:  # noqa: BLE001 # the library has but one kind
                name = self.names[place]
                raise InvalidArgument(f"{name}: expected values without a dictionary", field=name) from None
        return RecordBatch.from_arrays(columns, schema=self.schema)


def is_nested(kind: DataType) -> bool:
    """Return whether values of this type hold others: text has no way to write them."""
    return DataType.is_nested(kind) and not DataType.is_dictionary(kind)
