"""Files of a model: special files, huge files, and ambiguous JSON."""

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from server.errors import ModelError
from server.models import regular_file
from server.models.load_limits import LoadLimits
from server.models.repository import Repository
from server.settings import Settings
from tests.server.models.test_reload import answer, load, states
from tests.server.support import small
from tests.server.support.in_process import InProcess
from tests.server.support.repositories import TOKEN, label, publish


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with version 1, labelled stable, which computes 2x."""
    publish(tmp_path, 1)
    label(tmp_path, stable=1)
    return tmp_path


@pytest.fixture
def app(root: Path) -> Iterator[InProcess]:
    """Yield an app of the repository with model control."""
    with InProcess(Repository.load(root), Settings(admin_token=TOKEN)) as served:
        yield served


def fifo(path: Path) -> None:
    """Create a FIFO; opening it blocks until there is a writer."""
    os.mkfifo(path)


def bound(path: Path) -> None:
    """Create a socket."""
    where = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have about a hundred bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(where)


def endless(path: Path) -> None:
    """Create a link to a device without an end."""
    path.symlink_to("/dev/zero")


def linked(path: Path) -> None:
    """Create a link to a FIFO."""
    os.mkfifo(path.with_name(".fifo"))
    path.symlink_to(".fifo")


def sparse(path: Path) -> None:
    """Create a sparse file of four terabytes."""
    with path.open("wb") as file:
        file.truncate(2**42)


SPECIAL: Final = [fifo, bound, endless, linked, Path.mkdir, sparse]
FILES: Final = ["manifest.json", "model.onnx", "SHA256SUMS"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("make", SPECIAL)
def test_a_special_file_in_a_version(app: InProcess, root: Path, name: str, make: Callable[[Path], None]) -> None:
    """A special file in a version is rejected by name; other versions load without delay."""
    path = publish(root, 2, 3) / name
    path.unlink(missing_ok=True)
    make(path)
    publish(root, 3, 3)
    assert load(app) == (200, "")
    assert states(app)["small", "2"][0] == "UNAVAILABLE"
    reason = states(app)["small", "2"][1]
    assert reason.startswith("model 'small' version 2: ")
    assert name in reason
    assert answer(app, "/api/models/small/versions/3/predict") == ("3", 3.0)
    assert [*Repository.load(root).models["small"].models] == [1, 3]
    assert load(app) == (200, "")


@pytest.mark.parametrize("make", SPECIAL)
def test_special_labels(app: InProcess, root: Path, make: Callable[[Path], None]) -> None:
    """A special file as labels.json is rejected by name, and the loaded version stays served."""
    (root / "small" / "labels.json").unlink()
    make(root / "small" / "labels.json")
    status, error = load(app)
    assert (status, error.startswith("load: small/labels.json: ")) == (400, True)
    assert answer(app) == ("1", 2.0)
    with pytest.raises(ModelError, match=r"labels\.json"):
        Repository.load(root)


@pytest.mark.parametrize("make", SPECIAL)
def test_a_special_card(app: InProcess, root: Path, make: Callable[[Path], None]) -> None:
    """A special file as card is treated as no card."""
    make(root / "small" / "1" / "card.html")
    assert app.get("/api/models/small/card").status_code == 404


def test_a_link_to_a_regular_file(app: InProcess, root: Path) -> None:
    """Links to regular files are followed, because a mounted ConfigMap consists of links."""
    folder = publish(root, 2, 3)
    shutil.move(folder / "manifest.json", root / "elsewhere")
    (folder / "manifest.json").symlink_to(root / "elsewhere")
    assert load(app) == (200, "")
    assert answer(app, "/api/models/small/versions/2/predict") == ("2", 3.0)


def test_a_model_over_the_limit(root: Path) -> None:
    """A model.onnx above the size limit is rejected before it is read."""
    size = (root / "small" / "1" / "model.onnx").stat().st_size
    assert Repository.load(root, limits=LoadLimits(max_model_bytes=size)).default_model == "small"
    with pytest.raises(ModelError, match=f"expected at most {size - 1} bytes; got {size}"):
        Repository.load(root, limits=LoadLimits(max_model_bytes=size - 1))


def _with(folder: Path, more: bytes) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().rstrip()[:-1] + more + b"}")


DEEP: Final = b"[" * 200_000 + b"]" * 200_000
LENIENT: Final = {
    "deep": (b',"x":' + DEEP, "it is nested too deep"),
    "deep objects": (b',"x":' + b'{"x":' * 200_000 + b"1" + b"}" * 200_000, "it is nested too deep"),
    "twice": (b',"version":2', "the key 'version' appears twice"),
    "twice below": (b',"x":{"a":1,"a":2}', "the key 'a' appears twice"),
    "NaN": (b',"x":NaN', "manifest.json: "),
    "Infinity": (b',"x":[-Infinity]', "manifest.json: "),
    "no UTF-8": (b',"x":"\xff"', "it is not UTF-8"),
    "overlong": (b',"x":"\xc0\xaf"', "it is not UTF-8"),
    "too large": (b',"x":"' + b"x" * (8 << 20) + b'"', "expected at most 8388608 bytes"),
    "digits": (b',"x":' + b"9" * 5000, "manifest.json: Exceeds the limit"),
}


@pytest.mark.parametrize(("more", "words"), LENIENT.values(), ids=LENIENT)
def test_a_manifest_that_is_read_strictly(app: InProcess, root: Path, more: bytes, words: str) -> None:
    """Ambiguous or oversized JSON in a manifest is rejected by name; other versions are served."""
    _with(publish(root, 2, 3), more)
    _with(root / "small" / "1", more)
    publish(root, 3, 3)
    status, error = load(app)
    assert answer(app, "/api/models/small/versions/3/predict") == ("3", 3.0)
    assert answer(app) == ("1", 2.0)
    assert (status, error.startswith("load: model 'small' version 1: ")) == (400, True)
    for version in ("1", "2"):
        assert words in states(app)["small", version][1]
    label(root, stable=3)
    assert [*Repository.load(root).models["small"].models] == [3]


@pytest.mark.parametrize(
    "content",
    [
        b'{"stable":2,"stable":1}',
        b'{"stable":NaN}',
        b'{"stable":1e400}',
        b'{"stable":1.5}',
        b'{"stable":-1}',
        b'{"stable":' + b"9" * 5000 + b"}",
        b'{"stable":9999999999999999999}',
        b'{"stable":[' + DEEP + b"]}",
        b'{"\xff":1}',
        b'{"stable":1}' + b" " * (1 << 20),
        b'{"stable":1}x',
    ],
    ids=range(11),
)
def test_labels_that_are_read_strictly(app: InProcess, root: Path, content: bytes) -> None:
    """Ambiguous or oversized JSON in labels.json is rejected by name; the loaded version stays served."""
    publish(root, 2, 3)
    (root / "small" / "labels.json").write_bytes(content)
    status, error = load(app)
    assert (status, error.startswith("load: small/labels.json: ")) == (400, True)
    assert answer(app) == ("1", 2.0)
    label(root, stable=2)
    assert load(app) == (200, "")
    assert answer(app) == ("2", 3.0)


@pytest.mark.parametrize("name", ["01", "\N{ARABIC-INDIC DIGIT ONE}", "1" * 200, "+1", "1 "])
def test_folders_that_are_no_version(root: Path, name: str) -> None:
    """A folder whose name is not a canonical number is not a version."""
    shutil.copytree(root / "small" / "1", root / "small" / name)
    assert [*Repository.load(root).models["small"].models] == [1]


def test_what_nobody_foresaw(app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error in a load gives 400, and the loaded version stays served."""

    def fails(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("server.models.loader.read_labels", fails)
    assert load(app) == (400, "load: small: it can't be read; see the server's log")
    assert answer(app) == ("1", 2.0)
    monkeypatch.undo()
    assert load(app) == (200, "")


def test_a_manifest_changes_by_its_bytes(app: InProcess, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A manifest with other bytes and the same content is loaded again."""
    path = root / "small" / "1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    caplog.set_level("INFO")
    assert load(app) == (200, "")
    assert "ready in" in caplog.text


def test_versions_of_older_exporters(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A version without digests is served, and the log says which files were not verified."""
    caplog.set_level("INFO")
    small.double(root, version=2)
    assert [*Repository.load(root).models["small"].models] == [1, 2]
    assert "it has no SHA256SUMS: only model.onnx was checked by digest" in caplog.text


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    """Reading a file needs memory of the file's size, not of the limit."""
    (tmp_path / "labels.json").write_bytes(b"{}")
    assert regular_file.read(tmp_path / "labels.json", 1 << 50) == b"{}"
