"""Folder of finished parts and their state, from which an interrupted run resumes."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from server.batch.cli.local_file import UNFINISHED, Output
from server.batch.cli.split import PART_BYTES, Part
from server.batch.cli.task import ServedVersion, Task
from server.batch.scorer import Counts
from server.codecs.tables.media_types import FileFormat

STATE_FILE: Final = "job.json"


class PartsError(Exception):
    """A folder that can't be resumed, or a rejected part; the message names it."""


class Folder:
    """Folder of the parts of one job, some of them finished."""

    served: ServedVersion | None = None
    """Model version that scored the finished parts. It must score all other parts too."""
    is_merged = False
    """Whether the parts are already merged and no longer needed."""

    def __init__(self, path: Path, task: Task) -> None:
        """Create the folder, or resume if it has parts of the same job.

        The same job has the same input file and the same options. Raises PartsError if the folder has other content,
        and OSError.
        """
        self.files: list[Path] = []
        self._path = path
        self._job = _job(task)
        self._finished: dict[str, dict[str, int]] = {}
        path.mkdir(exist_ok=True)
        self._lock()
        if (path / STATE_FILE).exists():
            self._resume()
        elif any(not each.name.endswith(UNFINISHED) for each in path.iterdir()):
            raise PartsError(f"{path}: expected an empty folder, or one that contains parts of this job")
        self._write()  # before the first part, so that a folder with parts always has its state

    def _lock(self) -> None:
        """Lock the folder until this process ends, if the system supports locks.

        Raises PartsError if another run holds the lock.
        """
        try:
            import fcntl
        except ImportError:
            return
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise PartsError(f"{self._path}: another run is using it") from None

    def _resume(self) -> None:
        state_file = self._path / STATE_FILE
        try:
            state: Any = json.loads(state_file.read_bytes())
            job, parts, served, joined = state["job"], state["parts"], state["served"], state["joined"]
            finished = {str(name): {key: int(n) for key, n in counts.items()} for name, counts in parts.items()}
            served_version = None if served is None else ServedVersion(*served)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise PartsError(f"{state_file}: it can't be read; remove {self._path}, or use another folder") from None
        if not finished:
            return  # no part is finished, so the options may differ
        if job != self._job:
            differences = "; ".join(_differences(job, self._job))
            raise PartsError(
                f"{self._path}: it contains parts of another job ({differences}); remove it, or use another folder"
            )
        self._finished, self.served, self.is_merged = finished, served_version, bool(joined)

    @property
    def is_new(self) -> bool:
        """Return True if no part is finished."""
        return not self._finished

    def file(self, part: Part, file_format: FileFormat) -> Path:
        """Return the path of a part's file."""
        path = self._path / f"part-{part.number:05}{file_format.suffixes[0]}"
        self.files.append(path)
        return path

    def finished_counts(self, file: Path) -> Counts | None:
        """Return the counts of a finished part; None if the part is not finished."""
        return Counts(**self._finished[file.name]) if file.name in self._finished and file.exists() else None

    def total_counts(self) -> Counts:
        """Return the total counts of all finished parts."""
        return total(Counts(**counts) for counts in self._finished.values())

    def record_part(self, file: Path, counts: Counts, served: ServedVersion) -> None:
        """Record that a part is finished."""
        self.served = served
        self._finished[file.name] = {"read": counts.read, "scored": counts.scored, "failed": counts.failed}
        self._write()

    def record_merge(self) -> None:
        """Record that the parts are merged, and no longer needed."""
        self.is_merged = True
        self._write()

    def reset(self) -> None:
        """Discard the state of all parts."""
        self._finished, self.served, self.is_merged = {}, None, False
        self._write()

    def remove(self) -> None:
        """Remove the parts, and the folder if it is then empty."""
        for name in self._finished:
            (self._path / name).unlink(missing_ok=True)
        (self._path / STATE_FILE).unlink(missing_ok=True)
        with suppress(OSError):
            self._path.rmdir()

    def _write(self) -> None:
        state = {"job": self._job, "served": self.served, "parts": self._finished, "joined": self.is_merged}
        with Output(self._path / STATE_FILE) as out:
            out.write(json.dumps(state, indent=1).encode())


def total(counts: Any) -> Counts:  # noqa: ANN401 # an iterable of Counts
    """Return the sum of all `counts`."""
    sum_of_parts = Counts()
    for each in counts:
        sum_of_parts.read += each.read
        sum_of_parts.scored += each.scored
        sum_of_parts.failed += each.failed
    return sum_of_parts


def _job(task: Task) -> dict[str, Any]:
    """Return what identifies a job: the input file and the options.

    Request headers are left out, because they may hold secrets.
    """
    assert task.input is not None  # noqa: S101 # the command line checks this
    file = task.input.stat()
    return {
        "input": task.input.name,
        "bytes of input": file.st_size,
        "time of input": file.st_mtime_ns,
        "form": None if task.file_format is None else "tsv" if task.tabs else task.file_format.name,
        "url": None if task.remote is None else task.remote.url,
        "part rows": task.part_rows,
        "part bytes": PART_BYTES,
        **task.options._asdict(),
    }


def _differences(old: Any, new: Mapping[str, Any]) -> list[str]:  # noqa: ANN401 # any JSON value
    if not isinstance(old, dict):
        return ["they were written by another version of this program"]
    return [f"{name}: {old.get(name)}, now {value}" for name, value in new.items() if old.get(name) != value]
