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
from server.batch.scorer import Counts, Scorer, answer_names
from server.batch.writer import Writer
from server.codecs.tables.compression import Packed, Unpacked
from server.codecs.tables.detect import FORM_ENCODED, Reading, open_table
from server.codecs.tables.limits import Limits
from server.codecs.tables.media_types import NDJSON, Form
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

    def __init__(self, asked: BatchOptions, settings: Settings, drift: "Drift | None" = None) -> None:
        """Use the options `asked` and the limits of `settings`; `drift` observes the rows."""
        self.counts = Counts()
        self._asked = asked
        self._settings = settings
        self._drift = drift
        self._scorer: Scorer | None = None
        self._writer: Writer | None = None
        self.left_out: Collection[str] = ()
        """Columns of the file that can't be passed on; set before `run` calls `begin`."""

    def run(self, source: Source, is_dry: Callable[[], bool], sink: Sink, begin: Callable[[Form], None]) -> None:
        """Read `source` to its end and write the response to `sink`.

        Calls `begin` with the response's format before the first byte. When `is_dry()` is true, the source has no bytes
        now, and the buffered part of the response is sent. Raises RequestError; before `begin` for errors that the
        file's header shows.
        """
        try:
            self._run(_Prompt(source, is_dry), sink, begin)
        except RequestError as error:
            # A traceback holds frames, and they hold the rows in memory. This error is never logged.
            error.__context__ = error.__cause__ = None
            raise error.with_traceback(None) from None

    def _run(self, prompt: "_Prompt", sink: Sink, begin: Callable[[Form], None]) -> None:
        asked = self._asked
        source: Source = prompt
        if asked.encoding != "identity":
            source = Unpacked(source, asked.encoding)
        try:
            self._read(source, prompt, sink, begin)
        except InvalidArgument as error:
            if asked.is_form_encoded and error.field is None and FORM_ENCODED not in error.message:
                raise InvalidArgument(f"{error.message}. {FORM_ENCODED}") from None
            raise

    def _read(self, source: Source, prompt: "_Prompt", sink: Sink, begin: Callable[[Form], None]) -> None:
        table, form = open_table(source, self._asked.form, self._reading())
        with closing(table):
            try:
                self._score(table, form, prompt, sink, begin)
            except (Exception, KeyboardInterrupt, SystemExit):
                raise
            except BaseException as panic:
                raise RuntimeError(f"a library panicked: {panic}") from panic

    def _score(self, table: Table, form: Form, source: "_Prompt", sink: Sink, begin: Callable[[Form], None]) -> None:
        asked = self._asked
        scorer = Scorer(asked.model, table, asked.wanted, self._drift)
        self.counts = scorer.counts
        self._scorer = scorer
        answer_form = asked.answer_form or form
        packed = Packed(sink, asked.answer_encoding) if asked.answer_encoding != "identity" else None
        out = packed or sink
        delimiter = asked.answer_delimiter or (table.delimiter if answer_form is form else None) or ","
        decimal = asked.text.decimal
        self._writer = Writer(scorer, answer_form, out, delimiter=delimiter, decimal=decimal, as_text=table.is_text)
        if asked.wanted.columns == ALL:
            self.left_out = table.left_out.keys()
        begin(answer_form)
        source.out = out
        table.on_wait(source.flush)
        self._writer.write(summary=asked.summary)
        if packed is not None:
            packed.end()
        sink.flush()

    def stop(self) -> None:
        """Terminate the current run of the model: no client waits for it. Call this on the event loop."""
        if self._scorer is not None:
            self._scorer.stop()

    def error_trailer_bytes(self, error: RequestError) -> bytes:
        """Return the bytes that state `error` at the end of an aborted response.

        Empty if the response is compressed or its format can't state an error.
        """
        if self._writer is None or self._asked.answer_encoding != "identity":
            return b""
        return self._writer.failed(error)

    def close(self) -> None:
        """Release the rows that were read."""
        self._writer = None

    def _reading(self) -> Reading:
        manifest, settings = self._asked.model.manifest, self._settings
        return Reading(
            signature=self._asked.model.signature,
            added=answer_names(manifest, self._asked.wanted.on_error),
            delimiter=self._asked.delimiter,
            has_columns=self._asked.answer_form not in {None, NDJSON} or self._asked.wanted.columns != ALL,
            max_string_bytes=settings.max_string_bytes,
            max_json_depth=settings.max_json_depth,
            text=self._asked.text,
            needed=self._needed(),
            is_form_encoded=self._asked.is_form_encoded,
            limits=limits(settings, len(self._asked.model.signature.columns)),
        )

    def _needed(self) -> Collection[str] | None:
        """Return the columns whose values the response or the model needs; None: all columns.

        A requested name that contains commas is still in parts here: the table then reads all its columns.
        """
        wanted = self._asked.wanted.columns
        if wanted == ALL:
            return None
        return {*self._asked.model.signature.by_name, *(() if wanted == NONE else wanted)}


def limits(settings: Settings, features: int) -> Limits:
    """Return the limits of a table for a model with `features` features.

    The features do not count towards the maximum number of columns.
    """
    return Limits(settings.max_columns + features, settings.max_record_batch_bytes, settings.max_spool_bytes)


class _Prompt:
    """A source that sends the buffered response before a read waits for the body."""

    def __init__(self, source: Source, is_dry: Callable[[], bool]) -> None:
        self.out: Sink | None = None
        """Sink of the response; None until the response begins."""
        self._source = source
        self._is_dry = is_dry
        self._thread = threading.get_ident()
        self._failed: Exception | None = None
        """Error that ended a read: of the body, or of sending the response."""

    @property
    def failure(self) -> Exception | None:
        return self._failed or self._source.failure

    def flush(self) -> None:
        """Send the buffered part of the response if the source has no bytes now."""
        if self.out is not None and self._is_dry():
            self.out.flush()

    def read(self, size: int = -1, /) -> bytes:
        try:
            check(self._source)
            if threading.get_ident() == self._thread:  # a thread that feeds the isolated reader must not write
                self.flush()
            return self._source.read(size)
        except Exception as error:
            self._failed = error
            raise


def yield_to_others() -> None:
    """Give the current thread the lowest priority.

    This can't be undone, so the thread must do nothing but score files.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
