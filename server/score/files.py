"""One file to one file, in one go."""

import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO

from server.batch import Job
from server.score.progress import Progress
from server.score.task import Task, asked_here, settings_of
from server.scoring import Counts


class Reader:
    """A file as a source of bytes, whose progress is shown."""

    def __init__(self, file: IO[bytes], progress: Progress) -> None:
        """Read `file`."""
        self.failure: Exception | None = None
        self._file = file
        self._progress = progress

    def read(self, size: int = -1, /) -> bytes:
        """Return some bytes."""
        data: bytes = self._file.read1(size) if hasattr(self._file, "read1") else self._file.read(size)
        self._progress.read(len(data))
        return data


class Output(AbstractContextManager["Output"]):
    """A file that is there when it is whole, and not before."""

    failure: Exception | None = None

    def __init__(self, path: Path | None) -> None:
        """Write to `path`, None for standard output."""
        self._path = path
        self._unfinished = None if path is None else path.with_name(f".{path.name}.unfinished")
        self._file: IO[bytes] = sys.stdout.buffer if self._unfinished is None else self._unfinished.open("wb")

    def write(self, data: bytes, /) -> int:
        """Write some bytes."""
        return self._file.write(data)

    def flush(self) -> None:
        """Have what was written be seen."""
        self._file.flush()

    def restart(self) -> None:
        """Forget what was written."""
        self._file.seek(0)
        self._file.truncate()

    def __exit__(self, kind: type[BaseException] | None, *_of: object) -> None:
        self._file.flush()
        if self._path is None or self._unfinished is None:
            return
        self._file.close()
        if kind is None:
            self._unfinished.replace(self._path)
        else:
            self._unfinished.unlink()


def score_file(task: Task) -> Counts:
    """Score a file here. Raises RequestError, ModelError, SettingsError, OSError."""
    settings = settings_of(task)
    job = Job(asked_here(task, settings), settings)
    with ExitStack() as stack:
        file = sys.stdin.buffer if task.input is None else stack.enter_context(task.input.open("rb"))
        size = None if task.input is None else task.input.stat().st_size
        progress = stack.enter_context(Progress(size, quiet=task.quiet))
        out = stack.enter_context(Output(task.output))
        job.run(Reader(file, progress), lambda: progress.at(job.counts.read), out, lambda _form: None)
    return job.counts
