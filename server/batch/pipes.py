"""Pass bytes between the event loop and a thread, in bounded memory."""

import asyncio
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import IO, Final

from server.http.transfer_pace import Pace

HELD_BYTES: Final = 512 * 1024
"""Bytes of a body that are held in memory; behind them its sender is held back, until half of them are read."""
SENT_BYTES: Final = 64 * 1024
"""Bytes of an answer that are sent at once."""
UNREAD_S: Final = 0.25
"""Who has read nothing of the answer for so long counts as one who reads when all is sent."""


class BodyPipe:
    """A request's body: the event loop puts it in, a thread reads it.

    A caller who reads the answer as it comes is held back to the pace of the work. One who reads only when all is sent,
    as most libraries do, would wait for ever: what such a one sends goes into a temporary file meanwhile.
    """

    def __init__(self, max_spool_bytes: int, unread_s: Callable[[], float]) -> None:
        """Hold some bytes in memory, and up to `max_spool_bytes` in a file while the answer is unread for long."""
        self.failure: Exception | None = None
        self.moved = 0
        """Pieces that came."""
        self._unread_s = unread_s
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._waits = False
        """Whether the event loop waits for room: to wake it costs, so it is done only then."""
        self._changed = threading.Condition()
        self._chunks: deque[bytes | memoryview] = deque()
        self._held = 0
        self._spool = _Spool(max_spool_bytes)
        self._spools = False
        """Whether what comes now goes into the file: what is in memory comes before it."""
        self.is_whole = False
        """Whether all of it came."""

    async def put(self, data: bytes) -> None:
        """Put some bytes in, and wait until there is room for more: for ever, where nobody reads."""
        while not self._take(data):
            await self._has_room()
        while self._held > HELD_BYTES and not self._spools:
            if not await self._has_room() and self._unread_s() > UNREAD_S:
                self._spools = True

    def _take(self, data: bytes) -> bool:
        """Take some bytes; False where there is no room for them."""
        with self._changed:
            if self._spools and not self._spool.write(data):
                return False
            if not self._spools:
                self._chunks.append(data)
                self._held += len(data)
            self.moved += 1
            self._changed.notify()
            return True

    async def _has_room(self) -> bool:
        """Wait for room; False where there is none for a while."""
        with self._changed:
            if not self._spools and self._held <= HELD_BYTES // 2:
                return True
            self._room.clear()
            self._waits = True
        with suppress(TimeoutError):
            async with asyncio.timeout(UNREAD_S):
                await self._room.wait()
                return True
        return False

    def end(self) -> None:
        """Say that the body is whole."""
        with self._changed:
            self.is_whole = True
            self._changed.notify()

    def fail(self, error: Exception) -> None:
        """Raise `error` in the reader, now."""
        with self._changed:
            self.failure = self.failure or error
            self._changed.notify()

    def close(self) -> None:
        """Let go of what is held, and end who still reads: a thread that sends a file to another process."""
        with self._changed:
            self._chunks.clear()
            self._spool.close()
            self.is_whole = True
            self._changed.notify_all()

    @property
    def is_dry(self) -> bool:
        """Whether who reads would have to wait."""
        return not (self._chunks or self._spool.unread or self.is_whole or self.failure is not None)

    def read(self, size: int = -1, /) -> bytes:
        """Return some bytes, at most `size`; none at the end. To be called in a thread; raises `failure`."""
        with self._changed:
            while self.is_dry:
                self._changed.wait()
            if self.failure is not None:
                raise self.failure
            data = self._from_memory(size) if self._chunks else self._spool.read(size)
            self._spools = self._spools and self._spool.unread > 0
            if self._waits and (self._spools or self._held <= HELD_BYTES // 2):
                self._waits = False
                self._loop.call_soon_threadsafe(self._room.set)
            return data

    def _from_memory(self, size: int) -> bytes:
        """Return the first bytes. The event loop waits for the lock meanwhile: what is left is a view, and no copy."""
        chunk = self._chunks.popleft()
        if 0 <= size < len(chunk):
            view = memoryview(chunk)
            self._chunks.appendleft(view[size:])
            chunk = view[:size]
        self._held -= len(chunk)
        return bytes(chunk)


class _Spool:
    """Bytes in a temporary file, first in, first out."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._file: IO[bytes] | None = None
        self._start = 0
        self._end = 0

    @property
    def unread(self) -> int:
        return self._end - self._start

    def write(self, data: bytes) -> bool:
        """Keep some bytes; False where they are too many, or the file system doesn't take them all."""
        if self._end + len(data) > self._max_bytes:
            return False
        try:
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 # closed by `close`
            if os.pwrite(self._file.fileno(), data, self._end) < len(data):
                return False  # the file system is full: what it took of them is written over later
        except OSError:
            return False
        self._end += len(data)
        return True

    def read(self, size: int) -> bytes:
        if self._file is None:
            return b""
        size = min(self.unread, SENT_BYTES if size < 0 else size)
        data = os.pread(self._file.fileno(), size, self._start)
        self._start += len(data)
        if not self.unread:
            self._start = self._end = 0
            self._file.truncate(0)
        return data

    def close(self) -> None:
        self._start = self._end = 0
        if self._file is not None:
            self._file.close()


class AnswerPipe:
    """An answer's body: a thread writes it, the event loop sends it, at the pace that the caller reads."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], pace: Pace) -> None:
        """Send by `send`, one piece after the other, and count them in `pace`."""
        self.failure: Exception | None = None
        self.moved = 0
        """Pieces that were taken."""
        self._send = send
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._held = bytearray()
        self._sending: Future[None] | None = None
        self._since = 0.0

    def unread_s(self) -> float:
        """Return for how many seconds the piece that is being sent was not taken."""
        return 0.0 if self._sending is None else time.monotonic() - self._since

    def write(self, data: bytes, /) -> int:
        """Take bytes; send them when there are many. To be called in a thread; raises what `fail` was given."""
        if self.failure is not None:
            raise self.failure
        self._held += data
        if len(self._held) >= SENT_BYTES:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Send what there is."""
        if self.failure is not None:
            raise self.failure
        if not self._held:
            return
        data, self._held = bytes(self._held), bytearray()
        self._since = time.monotonic()
        self._sending = asyncio.run_coroutine_threadsafe(self._sent(data), self._loop)
        if self.failure is not None:  # since it was asked: `fail` may have looked before there was something to cancel
            self._sending.cancel()
        try:
            self._sending.result()
            self.moved += 1
        except CancelledError:
            raise self.failure or CancelledError from None
        finally:
            self._sending = None

    async def _sent(self, data: bytes) -> None:
        with self._pace.waiting():
            await self._send(data)
        self._pace.move(len(data))

    def fail(self, error: Exception) -> None:
        """Raise `error` in the writer, now."""
        self.failure = self.failure or error
        sending = self._sending  # looked at once: the thread lets go of it when it is done
        if sending is not None:
            sending.cancel()
