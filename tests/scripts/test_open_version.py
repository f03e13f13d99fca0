"""scripts/open-version, run against a local origin and a stand-in of the `gh` command."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
# A stand-in with state: a created pull request is listed as open afterwards.
GH: Final = """#!/bin/sh
printf '%s\\n' "$*" >>"$FORGE/calls"
case "$1 $2" in
  "pr create") echo 7 >"$FORGE/open" ;;
  "pr list") cat "$FORGE/open" 2>/dev/null || true ;;
esac
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a clone of a bare repository with the script and version 1 of a model."""
    tree = tmp_path / "tree"
    (tree / "scripts").mkdir(parents=True)
    (tree / "models" / "titanic" / "1").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "open-version", tree / "scripts")
    (tree / "models" / "titanic" / "1" / "model.onnx").write_text("one")
    (tree / "models" / "titanic" / "labels.json").write_text('{"stable": 1}')
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gh").write_text(GH)
    (tmp_path / "bin" / "gh").chmod(0o755)
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    git(tree, "init", "--quiet", "--initial-branch=main")
    git(tree, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "--message", "Version 1")
    git(tree, "push", "--quiet", "origin", "main")
    return tree


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a CI runner: a committer, and the stand-in first on PATH."""
    who = {f"GIT_{role}_{what}": "export@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return os.environ | who | {"FORGE": str(folder), "PATH": path, "GIT_CONFIG_GLOBAL": os.devnull}


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder; return its output."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment(folder.parent), capture_output=True, text=True, check=True
    )
    return done.stdout


def export(tree: Path, model: str) -> None:
    """Change the tree like an export of version 2, with a report outside models/."""
    git(tree, "switch", "--quiet", "main")
    (tree / "models" / "titanic" / "2").mkdir(exist_ok=True)
    (tree / "models" / "titanic" / "2" / "model.onnx").write_text(model)
    (tree / "models" / "titanic" / "labels.json").write_text('{"stable": 2}')
    (tree / "report.md").write_text(f"published {model}")


def open_version(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run the script as the workflow does."""
    return subprocess.run(
        [tree / "scripts" / "open-version", "report.md"],
        env=environment(tree.parent), capture_output=True, text=True, check=False,
    )  # fmt: skip


def calls(tree: Path) -> list[str]:
    """Return the stand-in's calls that change something, without queries."""
    written = tree.parent / "calls"
    return [call for call in written.read_text().splitlines() if "pr list" not in call] if written.exists() else []


def test_nothing_new_opens_nothing(tree: Path) -> None:
    """If models/ is unchanged, nothing is pushed and `gh` isn't called."""
    (tree / "report.md").write_text("unchanged")
    done = open_version(tree)
    assert done.returncode == 0, done.stderr
    assert git(tree, "ls-remote", "--heads", "origin").split("\t")[1:] == ["refs/heads/main\n"]
    assert not (tree.parent / "calls").exists()


def test_a_new_version_is_opened_with_its_report(tree: Path) -> None:
    """The branch has only the changes in models/; the pull request to main has the report."""
    export(tree, "two")
    done = open_version(tree)
    assert done.returncode == 0, done.stderr
    git(tree, "fetch", "--quiet", "origin")
    changed = git(tree, "diff", "--name-only", "origin/main", "origin/export/titanic-2").split()
    assert changed == ["models/titanic/2/model.onnx", "models/titanic/labels.json"]
    assert calls(tree) == [
        "pr create --head export/titanic-2 --base main --title Publish titanic/2 --body-file report.md"
    ]


def test_another_run_updates_the_same_branch(tree: Path) -> None:
    """A second export of a version replaces the branch and edits the open pull request."""
    export(tree, "two")
    assert open_version(tree).returncode == 0
    export(tree, "two, again")
    done = open_version(tree)
    assert done.returncode == 0, done.stderr
    git(tree, "fetch", "--quiet", "origin")
    assert git(tree, "show", "origin/export/titanic-2:models/titanic/2/model.onnx") == "two, again"
    assert git(tree, "rev-list", "--count", "origin/main..origin/export/titanic-2") == "1\n"
    assert [call.split(" --")[0] for call in calls(tree)] == ["pr create", "pr edit 7"]


def test_a_change_without_a_version_is_refused(tree: Path) -> None:
    """If models/ changed without a new version, the script exits with 1 and pushes nothing."""
    (tree / "models" / "titanic" / "labels.json").write_text("{}")
    done = open_version(tree)
    assert done.returncode == 1
    assert "models/titanic/labels.json" in done.stderr
    assert not (tree.parent / "calls").exists()


def test_a_published_version_that_changed_is_refused(tree: Path) -> None:
    """If a published version's files changed, the script exits with 1, even beside a new version."""
    export(tree, "two")
    (tree / "models" / "titanic" / "1" / "model.onnx").write_text("tampered with")
    done = open_version(tree)
    assert done.returncode == 1
    assert "models/titanic/1/model.onnx" in done.stderr
    assert not (tree.parent / "calls").exists()
