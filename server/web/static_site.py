"""Export of the web pages as static files: `python -m server.web.static_site FOLDER`.

The models are those that a server with the same environment would serve. See docs/reference/web-page.md.
"""

import os
import sys
from pathlib import Path

from server.models.repository import Repository
from server.settings import from_environment
from server.web.page import DOCS, HEADERS, INDEX, WEB, document, static_files


def write(repository: Repository, folder: Path) -> None:
    """Write the default model's page, the API page, their files and headers to `folder`.

    Other files in `folder` are deleted. Unchanged files are not rewritten, because a process may watch the folder.
    """
    lines = [f"  {name}: {value}" for name, value in HEADERS.items()]
    contents = {folder / "web" / name: content for name, content in static_files().items()}
    contents[folder / INDEX] = document(repository, repository.default_model).encode()
    contents[folder / "api" / DOCS] = (WEB / DOCS).read_bytes()
    contents[folder / "_headers"] = ("\n".join(["/*", *lines]) + "\n").encode()
    for path in folder.rglob("*"):
        if path.is_file() and path not in contents:
            path.unlink()
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def main(folder: str) -> None:
    """Write the pages of the models that a server with this environment would serve."""
    settings = from_environment(os.environ)
    write(Repository.load(settings.models, settings.default_model, settings.version_policy), Path(folder))


if __name__ == "__main__":
    main(sys.argv[1])
