"""Targets for files that an operator publishes: manifests and labels."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from server.errors import ModelError
from server.models import version_directory
from server.models.manifest import MANIFEST_FILE
from server.models.versions import LABELS_FILE, read_labels
from tests.fuzz import mutation
from tests.fuzz.service import Outcome, Service
from tests.fuzz.target import Target
from tests.server.support import small

Make = Callable[[Path], Path]


def _loading(make: Make) -> Target:
    """Return a target that loads a model version with mutated manifests."""
    with TemporaryDirectory() as made:
        folder = make(Path(made))
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        name = folder.parent.name

    def run(service: Service, data: bytes) -> Outcome:
        with TemporaryDirectory() as root:
            version = Path(root, name, "1")
            version.mkdir(parents=True)
            for file, content in (files | {MANIFEST_FILE: data}).items():
                (version / file).write_bytes(content)
            return service.measured(lambda: _foreseen(version_directory.load, version))

    return Target(f"manifest-{name}", lambda: [files[MANIFEST_FILE]], mutation.json, run, weight=2)


def _foreseen(read: Callable[[Path], object], path: Path) -> None:
    with contextlib.suppress(ModelError):
        read(path)


def _run_labels(service: Service, data: bytes) -> Outcome:
    with TemporaryDirectory() as root:
        path = Path(root, LABELS_FILE)
        path.write_bytes(data)
        return service.measured(lambda: _foreseen(read_labels, path))


def targets() -> Sequence[Target]:
    """Return the targets for published files."""
    labels = Target("labels", lambda: [b'{"stable":1,"canary":2}'], mutation.json, _run_labels)
    return [_loading(small.double), _loading(small.shades), labels]
