"""Tests of the installed command `lifeboat-export`, and of the project's wheel."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = Path(sys.executable).parent / "lifeboat-export"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["run", "--seed", "none"], []], ids=" ".join)
def test_the_installed_command_is_the_module(tmp_path: Path, arguments: list[str]) -> None:
    """`lifeboat-export` in any folder has the output and exit code of `python -m export`."""
    where = [sys.executable, "-c", "import export; print(export.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=False).stdout.strip()
    if not found:
        pytest.skip("the project is not installed here; `make .venv/.dev` installs it")
    if not Path(found).is_relative_to(ROOT):
        pytest.skip(f"another tree is installed here: {Path(found).parents[1]}")
    installed = subprocess.run([COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    module = subprocess.run(
        [sys.executable, "-m", "export", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (installed.returncode, installed.stdout, installed.stderr) == (
        module.returncode,
        module.stdout,
        module.stderr,
    )


def test_the_wheel_holds_every_file_of_server_and_export_and_nothing_else(tmp_path: Path) -> None:
    """The wheel has all files of the two packages, including data, and no other folder."""
    tree = tmp_path / "tree"
    for folder in ("export", "server"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    for other in ("bench", "tests", "worker"):
        (tree / other).mkdir()
        (tree / other / "__init__.py").touch()
    before = {str(path.relative_to(tree)) for name in ("export", "server") for path in (tree / name).rglob("*.*")}
    files = {name for name in before if (tree / name).is_file()}
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, tree], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("lifeboat-*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == files
