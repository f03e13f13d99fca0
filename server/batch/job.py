"""Batch job: read, score and write one file in its own thread.

Imported when the first file arrives, so that it does not delay the start.
"""

import os
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import closing
from typing import TYPE_CHECKING

from server.batch.options import ALL, NONE, BatchOptions
from server.batch.scorer import Counts, Scorer, prediction_names
from server.batch.writer import Writer
from server.codecs.tables.compression import CompressingSink, DecompressingSource
from server.codecs.tables.detect import FORM_ENCODED, ReadOptions, open_table
from server.codecs.tables.limits import Limits
from server.codecs.tables.media_types import NDJSON, FileFormat
from server.codecs.tables.table import Sink, Source, Table, check
from server.errors import InvalidArgument, RequestError
from server.settings import Settings

if TYPE_CHECKING:
    from server.inference.drift.monitor import Drift

NICENESS = 19
"""Lowest priority, for threads that score files: they share one CPU with the event loop."""
SWITCH_S = 0.0001
"""Seconds that such a thread may hold the interpreter lock while the event loop waits.

Python's default of 5 ms would delay every small request.
"""


class Job:
    """The job of scoring one file."""

    def __init__(self, options: BatchOptions, settings: Settings, drift: "Drift | None" = None) -> None:
        """Use `options` and the limits of `settings`; `drift` observes the rows."""
        self.counts = Counts()
        self._options = options
        self._settings = settings
        self._drift = drift
        self._scorer: Scorer | None = None
        self._writer: Writer | None = None
        self.omitted_columns: Collection[str] = ()
        """Columns of the file that can't be passed on; set before `run` calls `begin`."""

    def run(
        self, source: Source, would_wait: Callable[[], bool], sink: Sink, begin: Callable[[FileFormat], None]
    ) -> None:
        """Read `source` to its end and write the response to `sink`.

        Calls `begin` with the response's format before the first byte. When `would_wait()` is true, the source has no
        bytes now, and the buffered part of the response is sent. Raises RequestError; before `begin` for errors that
        the file's header shows.
        """
        try:
            self._run(_FlushingSource(source, would_wait), sink, begin)
        except RequestError as error:
            # A traceback holds frames, and they hold the rows in memory. This error is never logged.
            error.__context__ = error.__cause__ = None
            raise error.with_traceback(None) from None

    def _run(self, flushing_source: "_FlushingSource", sink: Sink, begin: Callable[[FileFormat], None]) -> None:
        options = self._options
        source: Source = flushing_source
        if options.encoding != "identity":
            source = DecompressingSource(source, options.encoding)
        try:
            self._read(source, flushing_source, sink, begin)
        except InvalidArgument as error:
            if options.is_form_encoded and error.field is None and FORM_ENCODED not in error.message:
                raise InvalidArgument(f"{error.message}. {FORM_ENCODED}") from None
            raise

    def _read(
        self, source: Source, flushing_source: "_FlushingSource", sink: Sink, begin: Callable[[FileFormat], None]
    ) -> None:
        table, file_format = open_table(source, self._options.file_format, self._read_options())
        with closing(table):
            try:
                self._score(table, file_format, flushing_source, sink, begin)
            except (Exception, KeyboardInterrupt, SystemExit):
                raise
            except BaseException as panic:
                raise RuntimeError(f"a library panicked: {panic}") from panic

    def _score(
        self,
        table: Table,
        file_format: FileFormat,
        source: "_FlushingSource",
        sink: Sink,
        begin: Callable[[FileFormat], None],
    ) -> None:
        options = self._options
        scorer = Scorer(options.model, table, options.row_options, self._drift)
        self.counts = scorer.counts
        self._scorer = scorer
        response_format = options.response_format or file_format
        compressing_sink = (
            CompressingSink(sink, options.response_encoding) if options.response_encoding != "identity" else None
        )
        out = compressing_sink or sink
        delimiter = options.response_delimiter or (table.delimiter if response_format is file_format else None) or ","
        decimal = options.text.decimal
        self._writer = Writer(scorer, response_format, out, delimiter=delimiter, decimal=decimal, as_text=table.is_text)
        if options.row_options.columns == ALL:
            self.omitted_columns = table.omitted_columns.keys()
        begin(response_format)
        source.out = out
        table.on_wait(source.flush)
        self._writer.write(summary=options.summary)
        if compressing_sink is not None:
            compressing_sink.end()
        sink.flush()

    def stop(self) -> None:
        """Terminate the current run of the model: no client waits for it. Call this on the event loop."""
        if self._scorer is not None:
            self._scorer.stop()

    def error_bytes(self, error: RequestError) -> bytes:
        """Return the bytes that state `error` at the end of an aborted response.

        Empty if the response is compressed or its format can't state an error.
        """
        if self._writer is None or self._options.response_encoding != "identity":
            return b""
        return self._writer.error_bytes(error)

    def close(self) -> None:
        """Release the rows that were read."""
        self._writer = None

    def _read_options(self) -> ReadOptions:
        manifest, settings = self._options.model.manifest, self._settings
        return ReadOptions(
            signature=self._options.model.signature,
            reserved_names=prediction_names(manifest, self._options.row_options.on_error),
            delimiter=self._options.delimiter,
            has_columns=self._options.response_format not in {None, NDJSON} or self._options.row_options.columns != ALL,
            max_string_bytes=settings.max_string_bytes,
            max_json_depth=settings.max_json_depth,
            text=self._options.text,
            needed=self._needed(),
            is_form_encoded=self._options.is_form_encoded,
            limits=limits(settings, len(self._options.model.signature.columns)),
        )

    def _needed(self) -> Collection[str] | None:
        """Return the columns whose values the response or the model needs; None: all columns.

        A requested name that contains commas is still in parts here: the table then reads all its columns.
        """
        columns = self._options.row_options.columns
        if columns == ALL:
            return None
        return {*self._options.model.signature.by_name, *(() if columns == NONE else columns)}


def limits(settings: Settings, features: int) -> Limits:
    """Return the limits of a table for a model with `features` features.

    The features do not count towards the maximum number of columns.
    """
    return Limits(settings.max_columns + features, settings.max_record_batch_bytes, settings.max_spool_bytes)


class _FlushingSource:
    """A source that sends the buffered response before a read waits for the body."""

    def __init__(self, source: Source, would_wait: Callable[[], bool]) -> None:
        self.out: Sink | None = None
        """Sink of the response; None until the response begins."""
        self._source = source
        self._would_wait = would_wait
        self._thread = threading.get_ident()
        self._read_error: Exception | None = None
        """Error that ended a read: of the body, or of sending the response."""

    @property
    def failure(self) -> Exception | None:
        return self._read_error or self._source.failure

    def flush(self) -> None:
        """Send the buffered part of the response if the source has no bytes now."""
        if self.out is not None and self._would_wait():
            self.out.flush()

    def read(self, size: int = -1, /) -> bytes:
        try:
            check(self._source)
            if threading.get_ident() == self._thread:  # a thread that feeds the isolated reader must not write
                self.flush()
            return self._source.read(size)
        except Exception as error:
            self._read_error = error
            raise


def lower_priority() -> None:
    """Give the current thread the lowest priority.

    This can't be undone, so the thread must do nothing but score files.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
