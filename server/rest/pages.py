"""GET /, /api/models/{model}/form, /api/docs, /web/{name}: HTML pages, page parts and static files.

This module is imported on the first request for a page, to keep startup fast.
"""

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from server.errors import NotFound
from server.http.caching import Tagged, tagged
from server.http.responses import revalidated
from server.models.repository import Repository
from server.models.threads import SharedWork
from server.web.page import DOCS, HEADERS, TYPES, WEB, document, part, static_files

_HTML: Final = "text/html"


class Pages:
    """Pages of the models of a repository; concurrent requests for one page share one build."""

    def __init__(self, repository: Repository) -> None:
        """Build pages for the models of `repository`."""
        self._repository = repository
        self._shared_work = SharedWork()
        self._files: Mapping[str, Tagged] = {}
        """Static files of the package, read once: they change only with the server."""

    async def page(self, request: Request) -> Response:
        """Return the page of the default model, or of the model in `?model=`. Raises NotFound."""
        return await self._page_response(
            request, document, request.query_params.get("model", self._repository.default_model)
        )

    async def form(self, request: Request) -> Response:
        """Return the main part of a model's page, which replaces the part of another model. Raises NotFound."""
        return await self._page_response(request, part, request.path_params["model"])

    async def docs(self, request: Request) -> Response:
        """Return the page that displays the OpenAPI document and can send requests to its operations."""
        return _revalidated(request, (await self._static_files())[DOCS], _HTML)

    async def file(self, request: Request) -> Response:
        """Return a static file of the pages. Raises NotFound."""
        name = request.path_params["name"]
        files = await self._static_files()
        if name not in files or name == DOCS:
            raise NotFound(f"there is no file {name[:64]!r}")
        return _revalidated(request, files[name], TYPES[PurePath(name).suffix])

    async def _page_response(self, request: Request, build: Callable[[Repository, str], str], name: str) -> Response:
        self._repository.versions(name)  # reject an unknown name before using a thread
        return _revalidated(request, await self._shared_work.run(_build_tagged, build, self._repository, name), _HTML)

    async def _static_files(self) -> Mapping[str, Tagged]:
        self._files = self._files or await self._shared_work.run(_files)
        return self._files


def _build_tagged(build: Callable[[Repository, str], str], repository: Repository, name: str) -> Tagged:
    return tagged(build(repository, name).encode())


def _files() -> Mapping[str, Tagged]:
    files = static_files() | {DOCS: (WEB / DOCS).read_bytes()}
    return {name: tagged(content) for name, content in files.items()}


def _revalidated(request: Request, content: Tagged, media_type: str) -> Response:
    return revalidated(request, content, f"{media_type}; charset=utf-8", HEADERS)
