"""Scoring of a file in parts inside a folder, and merge of the parts."""

import io
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final, Protocol

from server.batch.cli.checkpoint import Folder, PartsError
from server.batch.cli.local_file import Output, Reader
from server.batch.cli.merge import Plain, join
from server.batch.cli.progress import Progress
from server.batch.cli.remote import RemoteError, Service
from server.batch.cli.split import Part, split
from server.batch.cli.task import Done, Served, Task, asked_here, served_by, settings_of
from server.batch.job import Job
from server.batch.options import ALL, delimiter_of
from server.batch.scorer import Counts
from server.codecs.tables.compression import Packed
from server.codecs.tables.media_types import Form
from server.errors import InvalidArgument, PayloadTooLarge, RequestError
from server.settings import Settings

_ROW: Final = re.compile(r"row (\d+): ")


class _Scores(Protocol):
    """Interface of a scorer of parts."""

    def score(self, part: Part, out: Output, form: Form) -> tuple[Counts, Served]:
        """Write a part's scored rows. Returns its counts, and the model version that scored it."""


def score_parts(task: Task) -> Done:
    """Score a file in parts, on this machine or with a service.

    The parts are merged if the output is a file. Raises PartsError, RequestError, ModelError, SettingsError,
    RemoteError, OSError.
    """
    assert task.input is not None and task.parts is not None  # noqa: S101, PT018 # the command line checks this
    with Reader(task.input) as reader:
        settings = settings_of(task)
        folder = Folder(task.parts, task)
        if folder.is_joined and folder.served is not None and task.output is not None:
            if task.output.exists():
                counts = folder.all_kept()
                folder.remove()
                return Done(counts, folder.served)
            folder.begin_anew()
        try:
            scores = Service(task, folder.served) if task.remote is not None else _Here(task, settings, folder.served)
            with Progress(reader.size, shows=task.shows) as progress:

                def note(was_kept: bool, rows: int) -> None:
                    (progress.kept if was_kept else progress.at)(rows, reader.taken)

                parts = split(reader, task.part_rows, settings, delimiter_of(task.tried.delimiter))
                counts, form, left_out = _finish(parts, task.form, folder, scores, note)
        except BaseException:
            if folder.is_new:
                folder.remove()
            raise
    served = folder.served
    assert served is not None  # noqa: S101 # there is one part at least
    if task.output is not None:
        _join(task.output, folder, form, counts, task.encoding)
    return Done(counts, served, left_out if task.tried.columns == ALL else ())


def _finish(
    parts: Iterator[Part], form: Form | None, folder: Folder, scores: _Scores, note: Callable[[bool, int], None]
) -> tuple[Counts, Form, Collection[str]]:
    """Score each unfinished part. Returns the total counts, the parts' format, and the columns left out.

    Calls `note` after each part with whether the part was already finished, and the number of rows so far.
    """
    counts = Counts()
    left_out: Collection[str] = ()
    for part in parts:
        left_out = part.left_out
        form = form or part.file_form
        file = folder.file(part, form)
        of_part = folder.kept(file)
        was_kept = of_part is not None
        if of_part is None:
            of_part = _score(part, scores, folder, file, form)
        counts.read += of_part.read
        counts.scored += of_part.scored
        counts.failed += of_part.failed
        note(was_kept, counts.read)
    assert form is not None  # noqa: S101 # there is one part at least
    return counts, form, left_out


def _score(part: Part, scores: _Scores, folder: Folder, file: Path, form: Form) -> Counts:
    try:
        with Output(file) as out:
            counts, served = scores.score(part, out, form)
            if counts.read != part.rows:
                raise PartsError(f"{part}: expected predictions for {part.rows:,} rows; got {counts.read:,}")
    except (InvalidArgument, PayloadTooLarge) as error:
        raise PartsError(_of_file(error, part)) from None
    except RemoteError as error:
        raise RemoteError(f"{part}: {error}") from None
    folder.keep(file, counts, served)
    return counts


def _of_file(error: RequestError, part: Part) -> str:
    """Return the message of a rejection, with the row's number in the file."""
    found = _ROW.match(error.message)
    if found is None:
        return f"{part}: {error.message}"
    return f"row {part.first_row - 1 + int(found[1])}: {error.message[found.end() :]}"


def _join(output: Path, folder: Folder, form: Form, counts: Counts, encoding: str) -> None:
    """Merge the parts into one file, then remove them."""
    with Output(output) as out:
        packed = Packed(out, encoding) if encoding != "identity" else None
        join(folder.files, form, packed or out, counts)
        if packed is not None:
            packed.end()
    folder.joined()
    folder.remove()


class _Here:
    """Scorer of parts in this process."""

    def __init__(self, task: Task, settings: Settings, served: Served | None) -> None:
        """Load the model version `served`, which scored earlier parts.

        None: the version that the task names. Raises PartsError if the version's model file has changed since.
        """
        self._settings = settings
        self._asked = asked_here(task, settings, served)
        self._served = served_by(self._asked)
        if served is not None and self._served != served:
            words = "its model.onnx differs from the one that scored the parts in the folder"
            raise PartsError(f"{served}: {words}; remove {task.parts}, or use another folder")

    def score(self, part: Part, out: Output, form: Form) -> tuple[Counts, Served]:
        """Write a part's scored rows. Raises RequestError, OSError."""
        self._asked.form, self._asked.answer_form = part.form, form
        job = Job(self._asked, self._settings)
        job.run(Plain(io.BytesIO(part.body)), lambda: False, out, lambda _form: None)
        return job.counts, self._served
