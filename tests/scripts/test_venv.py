"""scripts/venv explains what a machine lacks, and installs the project if its build tools are locked."""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
NO_VENV: Final = f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\nexec {sys.executable} "$@"\n'
OLD: Final = "#!/bin/sh\nexit 1\n"


@pytest.mark.parametrize(
    ("python", "words"),
    [
        (None, "Lifeboat needs Python 3.11 or newer with its venv module; none was found on PATH."),
        (OLD, "Lifeboat needs Python 3.11 or newer with its venv module; none was found on PATH."),
        (NO_VENV, f"apt-get install python{sys.version_info.major}.{sys.version_info.minor}-venv"),
    ],
    ids=["none", "too old", "no venv module"],
)
def test_what_is_missing_is_said_in_words(tmp_path: Path, python: str | None, words: str) -> None:
    """Without a suitable Python or its venv module, the script says what to install."""
    scripts, path = tmp_path / "scripts", tmp_path / "bin"
    scripts.mkdir()
    path.mkdir()
    shutil.copy(ROOT / "scripts" / "venv", scripts)
    (path / "dirname").symlink_to(str(shutil.which("dirname")))
    if python is not None:
        (path / "python3").write_text(python)
        (path / "python3").chmod(0o755)
    command = [str(shutil.which("sh")), str(scripts / "venv"), "requirements.lock"]
    done = subprocess.run(command, env={"PATH": str(path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_project_is_installed_beside_what_builds_it(tmp_path: Path) -> None:
    """A lock with setuptools also installs the project, whose command is that of the module."""
    tree, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder in ("scripts", "export", "server"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    subprocess.run([sys.executable, "-m", "venv", tree / ".venv"], check=True)
    python = tree / ".venv" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"], check=True
    )  # venv's setuptools may be another version
    # The new environment sees the packages of this one, so nothing is downloaded; a lock only names packages.
    site = next((tree / ".venv").glob("lib/python*/site-packages"))
    (site / "here.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (tree / "small.lock").write_text(f"numpy=={version('numpy')} --hash=sha256:{'0' * 64}\n")
    (tree / "large.lock").write_text(f"setuptools=={version('setuptools')} --hash=sha256:{'0' * 64}\n")
    environment = os.environ | {"PIP_NO_INDEX": "1"}
    command = tree / ".venv" / "bin" / "lifeboat-export"

    subprocess.run([tree / "scripts" / "venv", "small.lock"], env=environment, check=True)
    assert not command.exists()
    subprocess.run([tree / "scripts" / "venv", "large.lock"], env=environment, check=True)
    installed = subprocess.run([command, "--help"], cwd=elsewhere, capture_output=True, text=True, check=True)
    module = subprocess.run([python, "-m", "export", "--help"], cwd=tree, capture_output=True, text=True, check=True)
    assert installed.stdout == module.stdout
