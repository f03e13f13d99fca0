"""Environments of the peers in .build/bench, installed once for each lock file."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.load_test import BenchError
from bench.targets import BUILD, PEERS, ROOT, Contender

STAMP: Final = ".installed"


def node() -> str:
    """Return the path of the Node that scripts/node finds or installs."""
    return _run(["scripts/node", "sh", "-c", "command -v node"], ROOT, {}).strip()


def install(peer: Contender) -> None:
    """Install a peer from its lock file, with hashes.

    Raises BenchError, with the end of the installer's output.
    """
    source, target = PEERS / peer.name, BUILD / peer.name
    lock = next(path for path in (source / "requirements.lock", source / "package-lock.json") if path.exists())
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = target / STAMP
    target.mkdir(parents=True, exist_ok=True)
    if lock.suffix == ".json":  # Node looks for packages beside the importing file: all files go to one folder
        for path in source.iterdir():
            shutil.copy(path, target)
    if stamp.exists() and stamp.read_text() == digest:
        return
    if lock.suffix == ".json":
        shutil.copy(ROOT / ".npmrc", target)
        npm = ["npm", "install", "--no-save", "--ignore-scripts", "--no-progress", "--loglevel=error"]
        _run(
            [str(ROOT / "scripts" / "node"), "sh", "-c", f'cd "$0" && {" ".join(npm)}', str(target)],
            target,
            {"ONNXRUNTIME_NODE_INSTALL": "skip"},
        )
    else:
        _run([sys.executable, "-m", "venv", "--clear", str(target / "venv")], target, {})
        pip = [
            str(target / "venv" / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        _run([*pip, "--no-deps", "--require-hashes", "-r", str(lock)], target, {})
    if (source / "make.py").exists():
        _run([sys.executable, str(source / "make.py"), str(target)], ROOT, {"PYTHONPATH": str(ROOT)})
    stamp.write_text(digest)


def installed_mb(peer: Contender) -> float:
    """Return the size of a peer's installed packages, without Python or Node itself."""
    target = BUILD / peer.name
    folders = [target / "node_modules", *(target / "venv" / "lib").glob("python*/site-packages")]
    files = (path for folder in folders if folder.exists() for path in folder.rglob("*") if not path.is_symlink())
    unused = ("pip", "setuptools")
    return sum(path.stat().st_size for path in files if path.is_file() and not set(path.parts) & set(unused)) / 1e6


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{' '.join(command[:4])} ...: {(done.stderr or done.stdout)[-600:]}")
    return done.stdout
