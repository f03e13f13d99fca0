"""The page at /api/docs: the files of server/web that it is made of, by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "web"
PAGE: Final = "docs.html"
FILES: Final[Mapping[str, str]] = {
    "docs.css": "text/css",
    "docs.js": "text/javascript",
    "docs-elements.js": "text/javascript",
    "docs-schema.js": "text/javascript",
    "docs-try.js": "text/javascript",
}
"""What the page asks for beside itself, and the media type of each."""
