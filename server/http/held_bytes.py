"""Memory limit for incomplete request bodies, over all connections."""

from typing import Final

from server.errors import ResourceExhausted

HELD: Final = "lifeboat.held_bytes"
"""Key of a request's HeldBody in its ASGI scope."""
_FULL_MESSAGE: Final = "too many bytes of request bodies are held; try again"


class HeldBytes:
    """Counter of the request body bytes that are held in memory.

    Belongs to one event loop; not thread-safe. Take a body's bytes when they arrive, and give the same number back when
    the body is decoded or dropped.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        """Limit the total to `limit` bytes.

        The first body is always accepted, so a low limit never blocks every request.
        """
        self.limit = limit
        self.held = 0
        """Bytes that are held now."""

    def take(self, size: int, own_bytes: int = 0) -> None:
        """Count `size` more bytes of a body that has `own_bytes` bytes counted already.

        Raises ResourceExhausted, and counts nothing, if the total exceeds the limit and other bodies are held.
        """
        if self.held > own_bytes and self.held + size > self.limit:
            raise ResourceExhausted(_FULL_MESSAGE)
        self.held += size

    def give_back(self, size: int) -> None:
        """Subtract `size` bytes."""
        self.held -= size


class HeldBody:
    """Counter of the bytes of one request's body. `release` gives back all remaining bytes."""

    __slots__ = ("_total", "size")

    def __init__(self, total: HeldBytes) -> None:
        """Count in `total`."""
        self._total = total
        self.size = 0
        """Bytes of this body that are held now."""

    def take(self, size: int) -> None:
        """Count `size` more bytes. Raises ResourceExhausted if all bodies together exceed the limit."""
        self._total.take(size, self.size)
        self.size += size

    def give_back(self, size: int) -> None:
        """Subtract `size` bytes, or the remaining bytes after `release`."""
        size = min(size, self.size)
        self._total.give_back(size)
        self.size -= size

    def release(self) -> None:
        """Give back all bytes: the body is decoded or dropped. Repeated calls have no effect."""
        self._total.give_back(self.size)
        self.size = 0
