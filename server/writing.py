"""Scored blocks to a stream of bytes in the form that is asked for."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from server.errors import InvalidArgument, RequestError
from server.scoring import Scored, Scorer
from server.tables.arrow import IpcWriter
from server.tables.blocks import Sink, is_nested, unwritable
from server.tables.csv import CsvWriter
from server.tables.forms import ARROW, CSV, NDJSON, Form
from server.tables.ndjson import NdjsonWriter
from server.tables.parquet import ParquetWriter

Notes = Mapping[str, int]
PREFIX = "lifeboat."


class Writer:
    """Writes one scored table."""

    def __init__(self, scorer: Scorer, form: Form, sink: Sink, *, delimiter: str = ",", as_text: bool = False) -> None:
        """Write what `scorer` yields; `as_text`: a text column is passed on as it stands, whatever feature it is.

        Raises InvalidArgument, naming the column, where the form has no way to write one.
        """
        self._scorer = scorer
        self._form = form
        self._sink = sink
        self._as_text = as_text and form is CSV
        self._csv = CsvWriter(delimiter)
        self._ipc = IpcWriter()
        self._ndjson = NdjsonWriter()
        if form is not NDJSON:
            self._empty = scorer.empty().batch(as_text=self._as_text)
        if form is CSV:
            _check_flat(self._empty)
        with _holding(form):
            self._header = self._begun()

    def write(self, between: Callable[[], None], *, summary: bool = False) -> None:
        """Write all, and the counts as the form has them; `between` is called before more is read."""
        self._sink.write(self._header)
        blocks = self._blocks(between)
        if self._form not in {CSV, NDJSON, ARROW}:
            self._write_parquet(blocks)
            return
        for scored in blocks:
            self._sink.write(self._rows(scored))
        self._sink.write(self._end(summary=summary))

    def _begun(self) -> bytes:
        """Return what comes before the first row."""
        if self._form is CSV:
            return self._csv.header(self._empty)
        return self._ipc.header(self._empty) if self._form is ARROW else b""

    def _blocks(self, between: Callable[[], None]) -> Iterator[Scored]:
        for scored in self._scorer:
            yield scored
            between()

    def _rows(self, scored: Scored) -> bytes:
        with _holding(self._form):
            return self._written(scored)

    def _written(self, scored: Scored) -> bytes:
        if self._form is NDJSON:
            lines = scored.lines() if self._scorer.passes_all else None
            return self._ndjson.rows(scored.batch()) if lines is None else self._ndjson.beside(lines, scored.answers)
        batch = scored.batch(as_text=self._as_text)
        return self._csv.rows(batch) if self._form is CSV else self._ipc.rows(batch)

    def _end(self, *, summary: bool) -> bytes:
        counts = self._scorer.counts.named()
        if self._form is ARROW:
            notes = {PREFIX + name: str(number) for name, number in counts.items()}
            return self._ipc.notes(self._empty, notes) + self._ipc.end()
        if not summary:
            return b""
        if self._form is CSV:
            return b"# " + ", ".join(f"{name}={number}" for name, number in counts.items()).encode() + b"\n"
        return self._ndjson.record({"summary": counts})

    def failed(self, error: RequestError) -> bytes:
        """Return what tells of a failure at the end of a stream that is then broken off."""
        if self._form is CSV:
            return b"# error: " + b" ".join(error.message.encode().split()) + b"\n"
        if self._form is NDJSON:
            return error.envelope() + b"\n"
        if self._form is ARROW:
            return self._ipc.notes(self._empty, {PREFIX + "error": error.message})
        return b""

    def _write_parquet(self, blocks: Iterator[Scored]) -> None:
        """Have the library pull the blocks."""

        def counts() -> dict[str, int]:
            return {PREFIX + name: number for name, number in self._scorer.counts.named().items()}

        batches = (scored.batch() for scored in blocks)
        ParquetWriter(self._sink).write(self._empty.schema, batches, counts)


@contextmanager
def _holding(form: Form) -> Iterator[None]:
    """Turn what a library says, by its panics too, of a value that it can't write into what the caller is told."""
    try:
        yield
    except (RequestError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 # panics are no exceptions
        raise unwritable(form.name, error) from None


def _check_flat(batch: Any) -> None:  # noqa: ANN401
    for name, array in zip(batch.column_names, batch.columns, strict=True):
        if is_nested(array.type):
            words = "expected no lists or structures: CSV can't hold them; ?columns= leaves it out"
            raise InvalidArgument(f"{name}: {words}", field=name)
