"""The model repository's folder to what is served, without being asked: looked at again and again, off by default.

Imported only where LIFEBOAT_WATCH_S asks for it. Why it isn't notified instead: docs/decisions/0010-following.md.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from server.control import ModelControl
from server.loader import Loader, folders
from server.manifest import MANIFEST_FILE, MODEL_FILE
from server.repository import UNLOADED, Repository
from server.versions import LABELS_FILE

Stamp = tuple[object, ...]
"""What differs whenever a model's folder has changed: its labels as they stand there, and of each version's files
what a replacement, a copy over it or a swapped link changes."""
_GONE: Final[Stamp] = ()
"""The stamp of a model that is served and has no folder."""
_log = logging.getLogger("lifeboat.following")


class Follower:
    """Looks at the folder, and has what changed there read again."""

    def __init__(self, repository: Repository, loader: Loader, control: ModelControl, watch_s: int) -> None:
        """Look at the folder of `loader` every `watch_s` seconds."""
        self._repository = repository
        self._loader = loader
        self._control = control
        self._watch_s = watch_s
        self._seen: dict[str, Stamp] = {}

    @asynccontextmanager
    async def following(self, _app: object) -> AsyncIterator[None]:
        """Follow the folder meanwhile: an application's lifespan."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def look(self) -> None:
        """Look once, and have each model read again whose folder is not what it was at the last look.

        A model whose folder is gone is served no longer. The default one is, as it was, and so are all where the whole
        repository is empty or gone, as one is that is not mounted: the index says why.
        """
        there = await asyncio.to_thread(stamps, self._loader.root)
        for name, stamp in there.items():
            if stamp != self._seen.get(name):
                is_first = name not in self._seen
                self._seen[name] = stamp
                if not is_first or self._repository.failed.get(name) != UNLOADED:  # since the start, by hand
                    await self._tell(self._control.follow(name))
        for name in {*self._repository.models, *self._repository.failed} - set(there):
            await self._gone(name, is_alone=not there)

    async def _gone(self, name: str, *, is_alone: bool) -> None:
        """Deal with a model that has no folder; `is_alone` where none has."""
        is_served = name in self._repository.models
        if is_served and (is_alone or name == self._repository.default_model):
            if self._seen.get(name) != _GONE:
                self._seen[name] = _GONE
                await self._tell(self._control.follow(name))
        elif not is_alone:  # else one that was unloaded stays so when the folder comes back
            self._seen.pop(name, None)
            await self._tell(self._control.remove(name))

    async def _tell(self, change: Coroutine[Any, Any, None]) -> None:
        """Have a change made. One that fails in a way that nobody foresaw is logged, and stops no other."""
        try:
            await change
        except Exception:  # noqa: BLE001 # logged, whatever it is
            _log.exception("the model repository could not be followed")

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._watch_s)
            await self._tell(self.look())


def stamps(root: Path) -> Mapping[str, Stamp]:
    """Return the stamp of each model below `root`; none where there is no such folder."""
    try:
        return {path.name: _stamp(path) for path in folders(root)}
    except OSError:
        return {}


def _stamp(path: Path) -> Stamp:
    """Return a model's stamp. Two labels.json may have one size, one time and one inode: it is read."""
    try:
        versions = [child for child in folders(path) if child.name.isdecimal()]
    except OSError as error:
        return (error.errno,)
    files = (_file(version / name) for version in versions for name in (MANIFEST_FILE, MODEL_FILE))
    return (_read(path / LABELS_FILE), *(version.name for version in versions), *files)


def _read(path: Path) -> object:
    try:
        return path.read_bytes()
    except OSError as error:
        return error.errno


def _file(path: Path) -> object:
    try:
        seen = path.stat()
    except OSError as error:
        return error.errno
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
