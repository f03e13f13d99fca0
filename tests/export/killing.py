"""A program that kills a process before each of its writes to a model repository.

`python -m tests.export.killing ACTION FOLDER` makes the repository `FOLDER/before` and copies it to `FOLDER/1`,
`FOLDER/2` and so on. It runs the action in each copy by a process that is killed before its first, second, ... step;
the last copy's process finishes. Steps are the operations of Python on the file system below the copy, and the lines of
`atomic_files.write`, so that a file may be left empty, or written but not flushed. `FOLDER/events.json` then has the
last process's operations in order.
"""

import itertools
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final

from export.registry import atomic_files, labels
from export.registry.publish import PublicationOptions
from tests.export import factors
from tests.server.support import small

KINDS: Final = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "tempfile.mkdtemp", "fcntl.flock")
WRITE: Final = atomic_files.write.__code__


def prepare(action: str, root: Path) -> None:
    """Create the repository before an action, with another model that no action changes."""
    shutil.copytree(factors.publish(root / "aside", 7).path.parent, root / "other")
    shutil.rmtree(root / "aside")
    manifest = root / "other" / "1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"name": "small"', '"name": "other"'))
    small.digest(manifest.parent)
    versions = {"first": 0, "publish": 2, "move": 2, "rollback": 3, "remove": 2}[action]
    for version in range(1, versions + 1):
        factors.publish(root, version)
    if action == "publish":
        labels.move(root, factors.NAME, "stable", 1)


ACTIONS: Final[Mapping[str, Callable[[Path], object]]] = {
    "first": lambda root: factors.publish(root, 1),
    "publish": lambda root: factors.publish(
        root, 3, PublicationOptions(promote=True, files=lambda *_: {"card.html": b"card"})
    ),
    "move": lambda root: labels.move(root, factors.NAME, "stable", 1),
    "rollback": lambda root: labels.rollback(root, factors.NAME, "stable"),
    "remove": lambda root: labels.remove(root, factors.NAME, "stable"),
}


class Watch:
    """Records a process's file system operations below `root`; kills the process before step number `last`."""

    def __init__(self, root: Path, last: int) -> None:
        """Start to record."""
        self.events: list[tuple[str, str]] = []
        self._root = f"{root}/"
        self._steps = 0
        self._last = last
        fsync = os.fsync

        def seen(descriptor: int) -> None:
            self._saw("fsync", self._path(descriptor))
            fsync(descriptor)

        os.fsync = seen  # type: ignore[assignment] # audit hooks don't report fsync
        sys.addaudithook(self._audit)
        sys.settrace(self._trace)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in KINDS:
            path = self._path(arguments[0])
            if event == "open" and (isinstance(arguments[0], int) or not arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                return  # opening to read, or reopening a descriptor, changes nothing
            if event == "os.rename":
                path = f"{path} to {self._path(arguments[1])}"
            if path != "elsewhere":
                self._saw(event, path)

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:  # noqa: ANN401 # the type of settrace
        if frame.f_code is not WRITE:
            return None
        if event == "line":
            self._step()
        return self._trace

    def _saw(self, event: str, path: str) -> None:
        self._step()
        self.events.append((event, path))

    def _step(self) -> None:
        self._steps += 1
        if self._steps == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def _path(self, what: Any) -> str:  # noqa: ANN401 # a path, or a descriptor
        path = Path(f"/proc/self/fd/{what}").readlink() if isinstance(what, int) else what
        text = os.fsdecode(path)
        return f"{text}/".removeprefix(self._root).rstrip("/") if f"{text}/".startswith(self._root) else "elsewhere"


def main(action: str, folder: Path) -> None:
    """Run the action in one copy after another until it isn't killed."""
    if _child(lambda: prepare(action, folder / "before")):
        raise SystemExit(f"{action} can't be prepared")
    for number in itertools.count(1):
        root = Path(shutil.copytree(folder / "before", folder / str(number)))
        status = _child(lambda root=root, number=number: _act(action, root, number))  # type: ignore[misc]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            continue
        if status:
            raise SystemExit(f"{action} failed at step {number}")
        return


def _act(action: str, root: Path, number: int) -> None:
    watch = Watch(root, number)
    ACTIONS[action](root)
    sys.settrace(None)
    (root.parent / "events.json").write_text(json.dumps(watch.events))


def _child(act: Callable[[], None]) -> int:
    """Call `act` in a child process, forked before any thread starts. Returns its status."""
    child = os.fork()
    if not child:
        status = 1
        try:
            act()
            status = 0
        finally:  # also for an exception: a child must not continue as its parent
            if status:
                traceback.print_exc()
            os._exit(status)
    return os.waitpid(child, 0)[1]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
