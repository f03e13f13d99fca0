"""Decoding of protobuf JSON messages in one thread, with limits on size and queue length.

protobuf decodes JSON in Python and needs up to one second of CPU per megabyte. A separate thread keeps the event loop
and the other threads free. Limits on the message size and on the number of waiting messages bound its load.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from server.errors import PayloadTooLarge, ResourceExhausted

LOOP_BYTES: Final = 8 * 1024
"""Maximum message size to decode on the event loop, in at most 8 ms."""
MAX_WAITING: Final = 16
"""Maximum number of messages that wait for the thread or are decoded by it."""
Decoded = TypeVar("Decoded")


class JsonMessages:
    """Decoder for messages in the protobuf JSON mapping. Belongs to one event loop."""

    def __init__(self, max_bytes: int) -> None:
        """Reject messages larger than `max_bytes`."""
        self.max_bytes = max_bytes
        self._executor = ThreadPoolExecutor(1, "protobuf-json")
        self._waiting = 0

    def check_size(self, size: int) -> None:
        """Raise PayloadTooLarge for a message over the size limit."""
        if size > self.max_bytes:
            raise PayloadTooLarge(f"message: expected at most {self.max_bytes} bytes of JSON; got {size}")

    async def run(self, decode: Callable[[], Decoded], size: int) -> Decoded:
        """Return the result of `decode` for a message of `size` bytes. Raises RequestError.

        If this coroutine is cancelled before `decode` starts, `decode` is not called.
        """
        if size <= LOOP_BYTES:
            return decode()
        if self._waiting >= MAX_WAITING:
            raise ResourceExhausted(
                f"{self._waiting} messages in JSON wait to be decoded, which is the maximum; try again"
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, decode)
        finally:
            self._waiting -= 1
