"""GET /, /api/models/{model}/form, /api/docs, /web/{name}: pages, a model's part of one, their files.

Imported when one is first asked for: no start pays for it.
"""

import asyncio
from functools import cache
from pathlib import PurePath
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from server.errors import NotFound
from server.page import DOCS, HEADERS, TYPES, WEB, document, part, static_files
from server.repository import Repository
from server.responses import revalidated

_HTML: Final = "text/html"


async def page(request: Request, repository: Repository) -> Response:
    """Answer the page of the default model, or of the one that `?model=` names. Raises NotFound."""
    name = request.query_params.get("model", repository.default_model)
    text = await asyncio.to_thread(document, repository, name)
    return _answer(request, text.encode(), _HTML)


async def form(request: Request, repository: Repository) -> Response:
    """Answer the main part of a model's page, to be put in the place of another's. Raises NotFound."""
    text = await asyncio.to_thread(part, repository, request.path_params["model"])
    return _answer(request, text.encode(), _HTML)


async def docs(request: Request) -> Response:
    """Answer the page that shows the OpenAPI document and tries what is in it."""
    return _answer(request, await asyncio.to_thread((WEB / DOCS).read_bytes), _HTML)


async def file(request: Request) -> Response:
    """Answer a file of the pages. Raises NotFound."""
    name = request.path_params["name"]
    files = await asyncio.to_thread(_files)
    if name not in files:
        raise NotFound(f"there is no file {name[:64]!r}")
    return _answer(request, files[name], TYPES[PurePath(name).suffix])


@cache
def _files() -> dict[str, bytes]:
    """Return what stands in the package, read once: it changes with the server alone."""
    return static_files()


def _answer(request: Request, content: bytes, media_type: str) -> Response:
    return revalidated(request, content, f"{media_type}; charset=utf-8", HEADERS)
