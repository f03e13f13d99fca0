"""scripts/venv on machines that lack what it needs: it says in words what to install."""

import shutil
import subprocess
import sys
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
    """Without a Python that will do, or without its venv module, the script ends with 1 and says what to install."""
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
