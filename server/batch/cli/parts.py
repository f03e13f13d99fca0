"""Scoring of a file in parts inside a folder, and merge of the parts."""

import io
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final, Protocol

from server.batch.cli.checkpoint import Folder, PartsError
from server.batch.cli.local_file import Output, Reader
from server.batch.cli.merge import Plain, merge_parts
from server.batch.cli.progress import Progress
from server.batch.cli.remote import RemoteError, Service
from server.batch.cli.split import Part, split
from server.batch.cli.task import Result, ServedVersion, Task, local_options, served_by, settings_of
from server.batch.job import Job
from server.batch.options import ALL, parse_delimiter
from server.batch.scorer import Counts
from server.codecs.tables.compression import CompressingSink
from server.codecs.tables.media_types import FileFormat
from server.errors import InvalidArgument, PayloadTooLarge, RequestError
from server.settings import Settings

_ROW: Final = re.compile(r"row (\d+): ")


class _PartScorer(Protocol):
    """Interface of a scorer of parts."""

    def score(self, part: Part, out: Output, file_format: FileFormat) -> tuple[Counts, ServedVersion]:
        """Write a part's scored rows. Returns its counts, and the model version that scored it."""


def score_parts(task: Task) -> Result:
    """Score a file in parts, on this machine or with a service.

    The parts are merged if the output is a file. Raises PartsError, RequestError, ModelError, SettingsError,
    RemoteError, OSError.
    """
    assert task.input is not None and task.parts is not None  # noqa: S101, PT018 # the command line checks this
    with Reader(task.input) as reader:
        settings = settings_of(task)
        folder = Folder(task.parts, task)
        if folder.is_merged and folder.served is not None and task.output is not None:
            if task.output.exists():
                counts = folder.total_counts()
                folder.remove()
                return Result(counts, folder.served)
            folder.reset()
        try:
            scorer = (
                Service(task, folder.served) if task.remote is not None else _LocalScorer(task, settings, folder.served)
            )
            with Progress(reader.size, is_visible=task.shows_progress) as progress:

                def on_part(was_finished: bool, rows: int) -> None:
                    (progress.skip if was_finished else progress.update)(rows, reader.bytes_read)

                parts = split(reader, task.part_rows, settings, parse_delimiter(task.options.delimiter))
                counts, file_format, omitted_columns = _finish(parts, task.file_format, folder, scorer, on_part)
        except BaseException:
            if folder.is_new:
                folder.remove()
            raise
    served = folder.served
    assert served is not None  # noqa: S101 # there is one part at least
    if task.output is not None:
        _merge(task.output, folder, file_format, counts, task.encoding)
    return Result(counts, served, omitted_columns if task.options.columns == ALL else ())


def _finish(
    parts: Iterator[Part],
    file_format: FileFormat | None,
    folder: Folder,
    scorer: _PartScorer,
    on_part: Callable[[bool, int], None],
) -> tuple[Counts, FileFormat, Collection[str]]:
    """Score each unfinished part. Returns the total counts, the parts' format, and the columns left out.

    Calls `on_part` after each part with whether the part was already finished, and the number of rows so far.
    """
    counts = Counts()
    omitted_columns: Collection[str] = ()
    for part in parts:
        omitted_columns = part.omitted_columns
        file_format = file_format or part.source_format
        file = folder.file(part, file_format)
        of_part = folder.finished_counts(file)
        was_finished = of_part is not None
        if of_part is None:
            of_part = _score(part, scorer, folder, file, file_format)
        counts.read += of_part.read
        counts.scored += of_part.scored
        counts.failed += of_part.failed
        on_part(was_finished, counts.read)
    assert file_format is not None  # noqa: S101 # there is one part at least
    return counts, file_format, omitted_columns


def _score(part: Part, scorer: _PartScorer, folder: Folder, file: Path, file_format: FileFormat) -> Counts:
    try:
        with Output(file) as out:
            counts, served = scorer.score(part, out, file_format)
            if counts.read != part.rows:
                raise PartsError(f"{part}: expected predictions for {part.rows:,} rows; got {counts.read:,}")
    except (InvalidArgument, PayloadTooLarge) as error:
        raise PartsError(_file_message(error, part)) from None
    except RemoteError as error:
        raise RemoteError(f"{part}: {error}") from None
    folder.record_part(file, counts, served)
    return counts


def _file_message(error: RequestError, part: Part) -> str:
    """Return the message of a rejection, with the row's number in the file."""
    match = _ROW.match(error.message)
    if match is None:
        return f"{part}: {error.message}"
    return f"row {part.first_row - 1 + int(match[1])}: {error.message[match.end() :]}"


def _merge(output: Path, folder: Folder, file_format: FileFormat, counts: Counts, encoding: str) -> None:
    """Merge the parts into one file, then remove them."""
    with Output(output) as out:
        compressing_sink = CompressingSink(out, encoding) if encoding != "identity" else None
        merge_parts(folder.files, file_format, compressing_sink or out, counts)
        if compressing_sink is not None:
            compressing_sink.end()
    folder.record_merge()
    folder.remove()


class _LocalScorer:
    """Scorer of parts in this process."""

    def __init__(self, task: Task, settings: Settings, served: ServedVersion | None) -> None:
        """Load the model version `served`, which scored earlier parts.

        None: the version that the task names. Raises PartsError if the version's model file has changed since.
        """
        self._settings = settings
        self._options = local_options(task, settings, served)
        self._served = served_by(self._options)
        if served is not None and self._served != served:
            message = "its model.onnx differs from the one that scored the parts in the folder"
            raise PartsError(f"{served}: {message}; remove {task.parts}, or use another folder")

    def score(self, part: Part, out: Output, file_format: FileFormat) -> tuple[Counts, ServedVersion]:
        """Write a part's scored rows. Raises RequestError, OSError."""
        self._options.file_format, self._options.response_format = part.file_format, file_format
        job = Job(self._options, self._settings)
        job.run(Plain(io.BytesIO(part.body)), lambda: False, out, lambda _form: None)
        return job.counts, self._served
