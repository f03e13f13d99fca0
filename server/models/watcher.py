"""Repository watcher: reload models when their folder changes. Off by default.

Imported only if LIFEBOAT_REPOSITORY_POLL_S is set. docs/decisions/0010-following.md explains why it polls.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from server.models import regular_file
from server.models.control import ModelControl
from server.models.digest_file import DIGEST_FILE
from server.models.loader import Loader, folders
from server.models.manifest import MANIFEST_FILE, MODEL_FILE
from server.models.repository import UNLOADED, Repository
from server.models.threads import in_new_thread
from server.models.versions import LABELS_FILE, MAX_LABELS_BYTES, version_number

Stamp = tuple[object, ...]
"""A value that differs after each change of a model's folder.

It holds the content of the labels file, and for each version's files the status that a replacement, a copy over the
file or a changed link modifies.
"""
_NO_FOLDER: Final[Stamp] = ()
"""Stamp of a served model without a folder."""
_log = logging.getLogger("lifeboat.following")


class RepositoryWatcher:
    """Scans the folder, and reloads models that changed."""

    def __init__(self, repository: Repository, loader: Loader, control: ModelControl, repository_poll_s: int) -> None:
        """Scan the folder of `loader` every `repository_poll_s` seconds."""
        self._repository = repository
        self._loader = loader
        self._control = control
        self._poll_s = repository_poll_s
        self._stamps: dict[str, Stamp] = {}
        self._changes: dict[str, asyncio.Task[None]] = {}
        """The running change of each model: a slow change delays only its own model."""

    @asynccontextmanager
    async def following(self, _app: object) -> AsyncIterator[None]:
        """Watch the folder during an application's lifespan."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            for each in (task, *self._changes.values()):
                each.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _scan(self) -> None:
        """Scan once, and start the reload of each model that changed since the last scan.

        A model without a folder is unloaded. The default model stays as it was. So do all models if the whole
        repository is empty or missing, for example if it is not mounted: the index then has the reason.
        """
        current_stamps = await in_new_thread(partial(stamps, self._loader.root))
        for name, stamp in current_stamps.items():
            if stamp != self._stamps.get(name) and name not in self._changes:
                is_first = name not in self._stamps
                self._stamps[name] = stamp
                if not is_first or self._repository.failed.get(name) != UNLOADED:  # unloaded by a client since
                    self._begin(name, self._control.follow(name))
        for name in {*self._repository.models, *self._repository.failed} - {*current_stamps, *self._changes}:
            self._handle_missing(name, is_alone=not current_stamps)

    def _handle_missing(self, name: str, *, is_alone: bool) -> None:
        """Handle a model without a folder; `is_alone` if no model has one."""
        is_served = name in self._repository.models
        if is_served and (is_alone or name == self._repository.default_model):
            if self._stamps.get(name) != _NO_FOLDER:
                self._stamps[name] = _NO_FOLDER
                self._begin(name, self._control.follow(name))
        elif not is_alone:  # else an unloaded model stays unloaded when the folder comes back
            self._stamps.pop(name, None)
            self._begin(name, self._control.remove(name))

    def _begin(self, name: str, change: Coroutine[Any, Any, None]) -> None:
        """Start a change of a model. After its end, scans include the model again."""
        task = asyncio.create_task(self._run_change(change))
        self._changes[name] = task
        task.add_done_callback(lambda _: self._changes.pop(name, None))

    async def _run_change(self, change: Coroutine[Any, Any, None]) -> None:
        """Run a change. Log an unexpected error, so that other changes go on."""
        try:
            await change
        except Exception:  # noqa: BLE001 # logged
            _log.exception("the model repository could not be scanned")

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self._run_change(self._scan())


def stamps(root: Path) -> Mapping[str, Stamp]:
    """Return the stamp of each model below `root`; empty if the folder does not exist."""
    try:
        return {path.name: _stamp(path) for path in folders(root)}
    except OSError:
        return {}


def _stamp(path: Path) -> Stamp:
    """Return a model's stamp.

    labels.json is read: two of its contents may have the same size, time and inode.
    """
    try:
        versions = [child for child in folders(path) if version_number(child.name) is not None]
    except OSError as error:
        return (error.errno,)
    files = (_file(version / name) for version in versions for name in (MANIFEST_FILE, MODEL_FILE, DIGEST_FILE))
    return (_read(path / LABELS_FILE), *(version.name for version in versions), *files)


def _read(path: Path) -> object:
    try:
        return regular_file.read(path, MAX_LABELS_BYTES)
    except OSError as error:
        return error.errno


def _file(path: Path) -> object:
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
