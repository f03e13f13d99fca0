"""A checkout as a reader has it: links to the tree, copied models, input files."""

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
"""Stand-ins for programs that need an account, a forge, a container engine or a full test run."""
DATA: Final = ROOT / "export" / "data" / "titanic.csv"
WEB: Final = ROOT / ".build" / "clients" / "web" / "node_modules"
"""The packages that the page on TypeScript clients installs."""
_MADE: Final = {".bench", ".bin", ".dev", ".export", ".lifeboat", ".server"}
_OWN: Final = {".git", ".venv", "node_modules", ".build", ".wrangler", "models", "wrangler.toml"}


def check_out(folder: Path) -> Path:
    """Fill a folder with a changeable copy of the tree after `make test`; return the folder."""
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
        (folder / made).touch()  # newer than its inputs, so that make has nothing to do
    (folder / "node_modules" / ".bin" / "wrangler").unlink(missing_ok=True)
    (folder / "node_modules" / ".bin" / "wrangler").symlink_to(ELSEWHERE / "wrangler")
    _passengers(folder)
    return folder


def _linked(source: Path, folder: Path) -> None:
    """Create a folder with links to the entries of another one; leave existing entries."""
    folder.mkdir(exist_ok=True)
    for entry in source.iterdir() if source.exists() else ():
        if entry.name not in _MADE and not (folder / entry.name).exists():
            (folder / entry.name).symlink_to(entry.resolve() if source.name == ".bin" else entry)


def _passengers(folder: Path) -> None:
    """Write the files that the pages score and train on: passengers without the target, and changed data."""
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
    """Return the environment of a reader's shell: Python, Node, a free port, and the stand-ins."""
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
