"""The page as files, for who serves it in the server's stead: `python -m server.assets FOLDER` (see docs/page.md).

The models are those that a server with the same environment would serve.
"""

import os
import sys
from pathlib import Path

from server.page import DOCS, HEADERS, INDEX, WEB, document, static_files
from server.repository import Repository
from server.settings import from_environment


def write(repository: Repository, folder: Path) -> None:
    """Make `folder` hold the default model's page, the API's, their files and headers, and nothing else.

    What is there already is left alone: somebody may be watching it.
    """
    lines = [f"  {name}: {value}" for name, value in HEADERS.items()]
    wanted = {folder / "web" / name: content for name, content in static_files().items()}
    wanted[folder / INDEX] = document(repository, repository.default_model).encode()
    wanted[folder / "api" / DOCS] = (WEB / DOCS).read_bytes()
    wanted[folder / "_headers"] = ("\n".join(["/*", *lines]) + "\n").encode()
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
    for path, content in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def main(folder: str) -> None:
    """Write the files of the models that this environment's server would serve."""
    settings = from_environment(os.environ)
    write(Repository.load(settings.models, settings.default_model, settings.version_policy), Path(folder))


if __name__ == "__main__":
    main(sys.argv[1])
