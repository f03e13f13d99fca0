"""scripts/pack-version and scripts/unpack-version carry a version from a read-only job to a writing one."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SCRIPTS: Final = ("pack-version", "unpack-version")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a repository with both scripts and version 1 of a model."""
    tree = tmp_path / "tree"
    (tree / "scripts").mkdir(parents=True)
    for script in SCRIPTS:
        shutil.copy(ROOT / "scripts" / script, tree / "scripts")
    (tree / "models/titanic/1").mkdir(parents=True)
    (tree / "models/titanic/1/model.onnx").write_text("one")
    (tree / "models/titanic/labels.json").write_text('{"stable": 1}')
    who = ["-c", "user.name=export", "-c", "user.email=export@localhost"]
    for arguments in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "--message", "Version 1"]):
        subprocess.run(["git", *arguments], cwd=tree, check=True)
    return tree


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """Return the folder of a packed version, as the second job receives it."""
    folder = tmp_path / "version"
    (folder / "models/titanic/2").mkdir(parents=True)
    (folder / "models/titanic/2/model.onnx").write_text("two")
    (folder / "models/titanic/labels.json").write_text('{"stable": 2}')
    (folder / "report.md").write_text("published two")
    return folder


def _run(tree: Path, script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [tree / "scripts" / script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_what_is_packed_is_unpacked(tree: Path, tmp_path: Path) -> None:
    """The changed files of models/ and the report arrive unchanged in another clone."""
    other = tmp_path / "other"
    shutil.copytree(tree, other)
    (tree / "models/titanic/2").mkdir()
    (tree / "models/titanic/2/model.onnx").write_bytes(bytes(range(256)))
    (tree / "models/titanic/labels.json").write_text('{"stable": 2}')
    (tree / "elsewhere").write_text("no model")
    report = tmp_path / "report.md"
    report.write_text("published two")
    packed = _run(tree, "pack-version", report, tmp_path / "version")
    assert packed.returncode == 0, packed.stderr
    assert sorted(str(each.relative_to(tmp_path / "version")) for each in (tmp_path / "version").rglob("*.*")) == [
        "models/titanic/2/model.onnx", "models/titanic/labels.json", "report.md",
    ]  # fmt: skip
    unpacked = _run(other, "unpack-version", tmp_path / "version", tmp_path / "text.md")
    assert unpacked.returncode == 0, unpacked.stderr
    assert (other / "models/titanic/2/model.onnx").read_bytes() == bytes(range(256))
    assert (other / "models/titanic/labels.json").read_text() == '{"stable": 2}'
    assert (tmp_path / "text.md").read_text() == "published two"
    assert not (other / "elsewhere").exists()


def test_nothing_new_packs_nothing(tree: Path, tmp_path: Path) -> None:
    """If models/ is unchanged, no folder is written, so no other job starts."""
    (tmp_path / "report.md").write_text("unchanged")
    done = _run(tree, "pack-version", tmp_path / "report.md", tmp_path / "version")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "version").exists()


def _link(folder: Path) -> None:
    (folder / "models/titanic/2/link").symlink_to("/etc/passwd")


def _linked_folder(folder: Path) -> None:
    (folder / "models/other").symlink_to("/etc")


def _fifo(folder: Path) -> None:
    os.mkfifo(folder / "models/titanic/2/fifo")


def _file(path: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("hostile")

    return write


@pytest.mark.parametrize(
    "hostile",
    [
        _link, _linked_folder, _fifo,
        _file(".github/workflows/ci.yml"), _file("scripts/open-version"), _file("models/titanic/2/.gitattributes"),
        _file("models/titanic/x/model.onnx"), _file("models/.git/hooks/pre-commit"), _file("models/a\nb/2/model.onnx"),
        _file("models/--force/2/model.onnx"), _file("models/titanic/2/deep/model.onnx"),
    ],
)  # fmt: skip
def test_what_is_no_version_is_refused_whole(
    tree: Path, version: Path, tmp_path: Path, hostile: Callable[[Path], None]
) -> None:
    """A file outside models/, a link or an invalid name ends the job without changing the tree."""
    hostile(version)
    before = _files(tree)
    done = _run(tree, "unpack-version", version, tmp_path / "text.md")
    assert done.returncode == 1
    assert "expected a file of a model version" in done.stderr
    assert _files(tree) == before


def test_a_report_is_cut_to_what_the_forge_takes(tree: Path, version: Path, tmp_path: Path) -> None:
    """A report is cut to the forge's limit for the text of a pull request."""
    (version / "report.md").write_text("x" * 1_000_000)
    assert _run(tree, "unpack-version", version, tmp_path / "text.md").returncode == 0
    assert (tmp_path / "text.md").stat().st_size == 60_000
