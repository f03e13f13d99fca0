"""A checkout as a reader has it: the tree's own files by links, the models copied, what the pages' commands ask for."""

import gzip
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pyarrow.csv
import pyarrow.parquet

ROOT: Final = Path(__file__).parents[2]
ELSEWHERE: Final = Path(__file__).parent / "elsewhere"
"""Commands that stand in for what isn't on this machine: an account, a forge, an engine, the time to test all again."""
DATA: Final = ROOT / "export" / "data" / "titanic.csv"
WEB: Final = ROOT / ".build" / "clients" / "web" / "node_modules"
"""The packages that a page on TypeScript clients tells to install."""
_MADE: Final = {".bench", ".bin", ".dev", ".export", ".lifeboat", ".server"}
_OWN: Final = {".git", ".venv", "node_modules", ".build", ".wrangler", "models", "wrangler.toml"}


def check_out(folder: Path) -> Path:
    """Fill a folder with the tree as it is after `make test`, to be changed at will. Returns it."""
    for entry in ROOT.iterdir():
        if entry.name not in _OWN:
            (folder / entry.name).symlink_to(entry)
    shutil.copytree(ROOT / "models", folder / "models")
    shutil.copy(ROOT / "wrangler.toml", folder)
    (folder / ".build").mkdir()
    for name in (".venv", "node_modules", "node_modules/.bin"):
        _linked(ROOT / name, folder / name)
    _linked(WEB, folder / "node_modules")
    _linked(WEB / ".bin", folder / "node_modules" / ".bin")
    for made in (".venv/.server", ".venv/.export", ".venv/.dev", "node_modules/.lifeboat"):
        (folder / made).touch()  # newer than what they are made of: make has nothing to do
    (folder / "node_modules" / ".bin" / "wrangler").unlink(missing_ok=True)
    (folder / "node_modules" / ".bin" / "wrangler").symlink_to(ELSEWHERE / "wrangler")
    _passengers(folder)
    return folder


def _linked(source: Path, folder: Path) -> None:
    """Make a folder that has what another one has, where it has nothing of that name."""
    folder.mkdir(exist_ok=True)
    for entry in source.iterdir() if source.exists() else ():
        if entry.name not in _MADE and not (folder / entry.name).exists():
            (folder / entry.name).symlink_to(entry.resolve() if source.name == ".bin" else entry)


def _passengers(folder: Path) -> None:
    """Write the files that pages score and train on: passengers without the answer, and other data."""
    lines = DATA.read_text().splitlines(keepends=True)
    (folder / "new.csv").write_text("".join(lines[:1300]))
    passengers = "".join(line.partition(",")[2] for line in lines)
    (folder / "passengers.csv").write_text(passengers)
    (folder / "passengers.csv.gz").write_bytes(gzip.compress(passengers.encode()))
    table = pyarrow.csv.read_csv(
        folder / "passengers.csv", convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    )
    pyarrow.parquet.write_table(table, folder / "passengers.parquet")


def environment(folder: Path) -> dict[str, str]:
    """Return what a reader's shell has there: its Python, its Node, any free port, and what stands in for elsewhere."""
    node = subprocess.run(
        ["scripts/node", "sh", "-c", "command -v node"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    programs = [ELSEWHERE, folder / ".venv" / "bin", Path(node.stdout.strip()).parent, ROOT / ".build" / "go"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LIFEBOAT_", "MAKE"))}
    return inherited | {
        "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PORT": "0",
        "EDGE_PORT": "0",
        "KEY": "a key",
        "READER_PATH": os.environ["PATH"],
        "READER_TREE": str(ROOT),
        "NODE_OPTIONS": "--experimental-strip-types",
    }
