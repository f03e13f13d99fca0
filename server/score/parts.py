"""A file to scored parts in a folder: what was finished once is not done again."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from server.batch import Job
from server.errors import RequestError
from server.score.files import Output, Reader
from server.score.progress import Progress
from server.score.remote import Service
from server.score.splitting import Part, join, split
from server.score.task import Task, asked_here, settings_of
from server.scoring import Counts
from server.tables.forms import Form

STATE_FILE: Final = "job.json"
_KEPT: Final = ("read", "scored", "failed")


class PartsError(Exception):
    """The folder can't be gone on with, or a part was refused; the message says which."""


def score_parts(task: Task) -> Counts:
    """Score a file part by part, here or by a service, and put the parts together where one file is asked for.

    Raises PartsError, RequestError, ModelError, SettingsError, RemoteError, OSError.
    """
    assert task.input is not None and task.parts is not None  # noqa: S101, PT018 # the command line has seen to it
    settings = settings_of(task)
    score = Service(task).score if task.url is not None else _scorer(task)
    parts = _Parts(task, task.parts)
    with task.input.open("rb") as file, Progress(task.input.stat().st_size, quiet=task.quiet) as progress:
        for part in split(Reader(file, progress), task.part_rows, settings.max_spool_bytes, task.tried.delimiter):
            parts.finish(part, score)
            progress.at(parts.counts.read)
    if task.output is not None:
        parts.join(task.output)
    return parts.counts


def _scorer(task: Task) -> Callable[[Part, Any, Form | None], Counts]:
    settings = settings_of(task)
    asked = asked_here(task, settings)

    def score(part: Part, out: Any, form: Form | None) -> Counts:  # noqa: ANN401
        asked.form, asked.answer_form = part.form, form
        job = Job(asked, settings)
        job.run(_Body(part.body), lambda: False, out, lambda _form: None)
        return job.counts

    return score


class _Body:
    failure: Exception | None = None

    def __init__(self, body: bytes) -> None:
        self.read = io.BytesIO(body).read


class _Parts:
    """The parts in a folder, and what was noted of them."""

    def __init__(self, task: Task, folder: Path) -> None:
        """Begin, or go on where the folder has parts of the same file, scored for the same."""
        assert task.input is not None  # noqa: S101
        self.counts = Counts()
        self._form = task.form
        self._folder = folder
        self._files: list[Path] = []
        file = task.input.stat()
        self._job = {
            "input": {"name": task.input.name, "bytes": file.st_size, "modified_ns": file.st_mtime_ns},
            "asked": task.tried._asdict() | {"url": task.url, "form": None if task.form is None else task.form.name},
            "part_rows": task.part_rows,
        }
        self._done: dict[str, dict[str, int]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / STATE_FILE).exists():
            state = json.loads((folder / STATE_FILE).read_text())
            if state["job"] != self._job:
                raise PartsError(f"{folder}: it holds parts of another job; remove it, or name another folder")
            self._done = state["parts"]
        elif any(folder.iterdir()):
            raise PartsError(f"{folder}: expected a folder that is empty, or that holds parts of this job")

    def finish(self, part: Part, score: Callable[[Part, Any, Form | None], Counts]) -> None:
        """Have a part scored, unless it was."""
        form = self._form or part.form
        path = self._folder / f"part-{part.number:05}{form.suffixes[0]}"
        self._files.append(path)
        self._form = form
        kept = self._done.get(path.name)
        if kept is None or not path.exists():
            try:
                with Output(path) as out:
                    counts = score(part, out, form)
            except RequestError as error:
                rows = f"rows {part.first_row} to {part.first_row + part.rows - 1}"
                raise PartsError(f"part {part.number} ({rows} of the file), in it {error}") from None
            kept = {name: getattr(counts, name) for name in _KEPT}
            self._done[path.name] = kept
            with Output(self._folder / STATE_FILE) as state:
                state.write(json.dumps({"job": self._job, "parts": self._done}, indent=1).encode())
        for name in _KEPT:
            setattr(self.counts, name, getattr(self.counts, name) + kept[name])

    def join(self, output: Path) -> None:
        """Put the parts together in one file, and remove them."""
        assert self._form is not None  # noqa: S101 # there is one part at least
        with Output(output) as out:
            join(self._files, self._form, out)
        for path in (*self._files, self._folder / STATE_FILE):
            path.unlink()
        self._folder.rmdir()
