"""GET /api/models/{model}/card: serve the model card as an HTML page without scripts.

The exporter writes the card. This module is imported on the first request for a card, to keep startup fast. A card is
read and checked again only when its file or the digest file of the version has changed.
"""

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from server.errors import DigestError, NotFound
from server.http.caching import Tagged, tagged
from server.http.responses import revalidated
from server.models import digest_file, regular_file
from server.models.digest_file import DIGEST_FILE
from server.models.regular_file import Identity
from server.models.repository import Repository
from server.models.threads import SharedWork
from server.models.version_directory import MAX_CARD_BYTES

_log = logging.getLogger("lifeboat.repository")
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
}
"""Headers that block scripts and forms: the page has the origin of the service."""
_MAX_CACHED_BYTES: Final = 8 * 1024 * 1024
"""Maximum bytes of all cached cards."""
_MAX_CACHED: Final = 1024
"""Maximum number of cached entries, including entries for missing cards."""


class _CachedCard(NamedTuple):
    """The card of a version, and the identities of the card and digest files."""

    identities: tuple[Identity | None, Identity | None]
    page: Tagged | None

    @property
    def size(self) -> int:
        """Size of the card in bytes."""
        return 0 if self.page is None else len(self.page.content)


class Cards:
    """Model cards of all versions, with a cache of the most recently served cards."""

    def __init__(self) -> None:
        """Create an empty cache."""
        self._shared_work = SharedWork()
        self._cached: OrderedDict[Path, _CachedCard] = OrderedDict()
        """Cache entries, the most recently served entry last."""
        self._cached_bytes = 0

    async def respond(self, request: Request, repository: Repository) -> Response:
        """Return the card page, or 304 if the client has the current page.

        Raises NotFound if the version has no card.
        """
        path_params = request.path_params
        model = repository.resolve(path_params["model"], path_params.get("version"), path_params.get("label"))
        path = repository.card(model)
        page = None if path is None else await self._page(path)
        if page is None:
            raise NotFound(f"model {model.name!r} version {model.version} has no card", field="model")
        return revalidated(request, page, "text/html; charset=utf-8", _HEADERS)  # a label may move

    async def _page(self, path: Path) -> Tagged | None:
        """Return the current card; concurrent requests share one check of its files."""
        card = await self._shared_work.run(self._read, path)
        if self._cached.get(path) is not card:
            self._evict(path)
            if all(each is None or each.is_settled for each in card.identities):
                self._cache(path, card)
        else:
            self._cached.move_to_end(path)
        return card.page

    def _read(self, path: Path) -> _CachedCard:
        """Return the content of a card file, from the cache if the files are unchanged. Runs in a thread."""
        try:
            identities = (regular_file.identity(path), regular_file.identity(path.with_name(DIGEST_FILE)))
        except OSError:
            return _CachedCard((None, None), None)
        cached = self._cached.get(path)
        if cached is not None and cached.identities == identities:
            return cached
        return _CachedCard(identities, _read_verified(path))

    def _cache(self, path: Path, card: _CachedCard) -> None:
        self._cached[path] = card
        self._cached_bytes += card.size
        while self._cached_bytes > _MAX_CACHED_BYTES or len(self._cached) > _MAX_CACHED:
            self._evict(next(iter(self._cached)))

    def _evict(self, path: Path) -> None:
        cached = self._cached.pop(path, None)
        if cached is not None:
            self._cached_bytes -= cached.size


def _read_verified(path: Path) -> Tagged | None:
    """Return the card, or None if it is missing or does not match its digest."""
    try:
        page = regular_file.read(path, MAX_CARD_BYTES)
        digests = digest_file.read(path.parent)
        if digests is not None:
            digests.check(path.name, page)
    except OSError:
        return None
    except DigestError as error:
        _log.error("%s/%s: %s; it is not served", path.parent.parent.name, path.parent.name, error)  # without traceback
        return None
    return tagged(page)
