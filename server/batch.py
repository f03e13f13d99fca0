"""One file to its answer: what a request asks for, read, scored and written in a thread of its own.

Imported when the first file arrives: a start never pays for it.
"""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from server.asked import ALL, Asked
from server.errors import RequestError
from server.scoring import Counts, Scorer, answer_names
from server.settings import Settings
from server.tables.blocks import Sink, Source, Table
from server.tables.formats import Reading, open_table
from server.tables.forms import NDJSON, Form
from server.tables.packing import Packed, Unpacked
from server.writing import Writer

if TYPE_CHECKING:
    from server.drift import Drift

NICENESS = 19
"""How much a thread that scores files lets others go first, the most there is: they have one CPU together."""
SWITCH_S = 0.0001
"""How long such a thread may hold the interpreter while the event loop waits for it; Python's own 5 ms are for programs
that nobody waits for."""


class Job:
    """One file that is being scored."""

    def __init__(self, asked: Asked, settings: Settings, drift: "Drift | None" = None) -> None:
        """Score as `asked`, within the limits of `settings`; `drift` looks at the rows."""
        self.counts = Counts()
        self._asked = asked
        self._settings = settings
        self._drift = drift
        self._writer: Writer | None = None

    def run(self, source: Source, is_dry: Callable[[], bool], sink: Sink, begin: Callable[[Form], None]) -> None:
        """Read `source` to its end and write the answer.

        `begin` is told the answer's form before its first byte; `is_dry` whether the source has nothing now: then what
        is there of the answer is sent. Raises RequestError: before `begin` for what can be told from the header.
        """
        asked = self._asked
        source = prompt = _Prompt(source, is_dry)
        if asked.encoding != "identity":
            source = Unpacked(source, asked.encoding)
        table, form = open_table(source, asked.form, self._reading())
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
        answer_form = asked.answer_form or form
        packed = Packed(sink, asked.answer_encoding) if asked.answer_encoding != "identity" else None
        out = packed or sink
        delimiter = asked.answer_delimiter or (table.delimiter if answer_form is form else None) or ","
        self._writer = Writer(scorer, answer_form, out, delimiter=delimiter, as_text=table.is_text)
        begin(answer_form)
        source.out = out
        self._writer.write(summary=asked.summary)
        if packed is not None:
            packed.end()
        sink.flush()

    def last_words(self, error: RequestError) -> bytes:
        """Return what ends an answer that is broken off, as its form can say it; nothing where it is packed."""
        if self._writer is None or self._asked.answer_encoding != "identity":
            return b""
        return self._writer.failed(error)

    def _reading(self) -> Reading:
        manifest, settings = self._asked.model.manifest, self._settings
        return Reading(
            signature=self._asked.model.signature,
            added=answer_names(manifest, self._asked.wanted.on_error),
            delimiter=self._asked.delimiter,
            has_columns=self._asked.answer_form not in {None, NDJSON} or self._asked.wanted.columns != ALL,
            max_string_bytes=settings.max_string_bytes,
            max_json_depth=settings.max_json_depth,
            max_block_bytes=settings.max_record_batch_bytes,
            max_spool_bytes=settings.max_spool_bytes,
        )


class _Prompt:
    """A body whose reader doesn't wait for more of it while there is something of the answer that wasn't sent."""

    def __init__(self, source: Source, is_dry: Callable[[], bool]) -> None:
        self.out: Sink | None = None
        """Where the answer goes, once it has begun."""
        self._source = source
        self._is_dry = is_dry
        self._failed: Exception | None = None
        """What ended a read, be it that the answer could not be sent."""

    @property
    def failure(self) -> Exception | None:
        return self._failed or self._source.failure

    def read(self, size: int = -1, /) -> bytes:
        try:
            if self.out is not None and self._is_dry():
                self.out.flush()
            return self._source.read(size)
        except Exception as error:
            self._failed = error
            raise


def yield_to_others() -> None:
    """Let this thread go behind all others; once and for all, so it is to be one for files alone."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
