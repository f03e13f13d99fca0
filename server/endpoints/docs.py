"""GET /api/docs: the page that shows the OpenAPI document and tries what is in it.

Imported when it is first asked for: no start pays for it.
"""

import asyncio
import hashlib
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from server.caching import has
from server.docs_page import FILES, FOLDER, PAGE
from server.errors import NotFound

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",  # kept, and asked for anew: its files must fit each other
}
"""The page runs its own scripts, and asks this service alone."""


async def answer(request: Request) -> Response:
    """Answer the page, or the file of it that is named; 304 to who has it. Raises NotFound."""
    name = request.path_params.get("name", PAGE)
    media_type = "text/html" if "name" not in request.path_params else FILES.get(name)
    if media_type is None:
        raise NotFound(f"there is nothing at {request.url.path[:128]}; GET /api/docs is the page")
    content = await asyncio.to_thread((FOLDER / name).read_bytes)
    headers = _HEADERS | {"etag": f'"{hashlib.sha256(content).hexdigest()}"'}
    if has(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=f"{media_type}; charset=utf-8")
