"""GET /api/models/{model}/card: the model card that the exporter wrote, a page without a script.

Imported when one is first asked for: no start pays for it.
"""

import asyncio
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from server.errors import NotFound
from server.repository import Repository
from server.responses import revalidated

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
}
"""The page may be looked at, and no more: it stands on the service's own origin."""


async def answer(request: Request, repository: Repository) -> Response:
    """Answer the page; 304 to who has it already. Raises NotFound where the version has none."""
    where = request.path_params
    model = repository.resolve(where["model"], where.get("version"), where.get("label"))
    path = repository.card(model)
    page = None if path is None else await asyncio.to_thread(_read, path)
    if page is None:
        raise NotFound(f"model {model.name!r} version {model.version} has no card", field="model")
    return revalidated(request, page, "text/html; charset=utf-8", _HEADERS)  # the label may have moved


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
