"""Pipes: pass bytes between the event loop and a thread in bounded memory."""

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
"""Maximum bytes of a body in memory. At this limit the event loop stops reading the body until half of it is read."""
SENT_BYTES: Final = 64 * 1024
"""Bytes of a response to send at once."""
UNREAD_S: Final = 0.25
"""Seconds without reading, after which a client is expected to read only at the end."""


class BodyPipe:
    """Pipe of a request's body: the event loop writes it, a thread reads it.

    A client that reads the response while it sends is slowed down to the pace of scoring. Most libraries read only
    after they have sent everything; they would wait for ever. The body of such a client goes to a temporary file.
    """

    def __init__(self, max_spool_bytes: int, unread_s: Callable[[], float]) -> None:
        """Create an empty pipe.

        `unread_s` returns the seconds for which the client has not read the response. The temporary file holds at most
        `max_spool_bytes`.
        """
        self.failure: Exception | None = None
        self.pieces = 0
        """Number of pieces received."""
        self._unread_s = unread_s
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._is_waiting = False
        """Whether the event loop waits for room. Waking it up is expensive, so the reader wakes it only then."""
        self._changed = threading.Condition()
        self._chunks: deque[bytes | memoryview] = deque()
        self._buffered_bytes = 0
        self._spool = _Spool(max_spool_bytes)
        self._is_spooling = False
        """Whether new bytes go to the file; the bytes in memory come before them."""
        self.is_whole = False
        """Whether the body is complete."""

    async def put(self, data: bytes) -> None:
        """Write some bytes, and wait until there is room for more.

        The wait has no end if the thread does not read.
        """
        while not self._accept(data):
            await self._has_room()
        while self._buffered_bytes > HELD_BYTES and not self._is_spooling:
            if not await self._has_room() and self._unread_s() > UNREAD_S:
                self._is_spooling = True

    def _accept(self, data: bytes) -> bool:
        """Accept some bytes; return False if there is no room for them."""
        with self._changed:
            if self._is_spooling and not self._spool.write(data):
                return False
            if not self._is_spooling:
                self._chunks.append(data)
                self._buffered_bytes += len(data)
            self.pieces += 1
            self._changed.notify()
            return True

    async def _has_room(self) -> bool:
        """Wait for room; return False if there is none within UNREAD_S."""
        with self._changed:
            if not self._is_spooling and self._buffered_bytes <= HELD_BYTES // 2:
                return True
            self._room.clear()
            self._is_waiting = True
        with suppress(TimeoutError):
            async with asyncio.timeout(UNREAD_S):
                await self._room.wait()
                return True
        return False

    def end(self) -> None:
        """Mark the body as complete."""
        with self._changed:
            self.is_whole = True
            self._changed.notify()

    def fail(self, error: Exception) -> None:
        """Raise `error` in the reading thread immediately."""
        with self._changed:
            self.failure = self.failure or error
            self._changed.notify()

    def close(self) -> None:
        """Release the buffered bytes, and end the reads of other threads.

        Such a thread feeds the isolated reader's process.
        """
        with self._changed:
            self._chunks.clear()
            self._spool.close()
            self.is_whole = True
            self._changed.notify_all()

    @property
    def would_wait(self) -> bool:
        """Whether a read would wait."""
        return not (self._chunks or self._spool.unread or self.is_whole or self.failure is not None)

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes; no bytes at the end. Call this in a thread. Raises `failure`."""
        with self._changed:
            while self.would_wait:
                self._changed.wait()
            if self.failure is not None:
                raise self.failure
            data = self._from_memory(size) if self._chunks else self._spool.read(size)
            self._is_spooling = self._is_spooling and self._spool.unread > 0
            if self._is_waiting and (self._is_spooling or self._buffered_bytes <= HELD_BYTES // 2):
                self._is_waiting = False
                self._loop.call_soon_threadsafe(self._room.set)
            return data

    def _from_memory(self, size: int) -> bytes:
        """Return the first bytes in memory.

        The rest of the chunk becomes a view, not a copy: the event loop waits for the lock meanwhile.
        """
        chunk = self._chunks.popleft()
        if 0 <= size < len(chunk):
            view = memoryview(chunk)
            self._chunks.appendleft(view[size:])
            chunk = view[:size]
        self._buffered_bytes -= len(chunk)
        return bytes(chunk)


class _Spool:
    """First-in, first-out queue of bytes in a temporary file."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._file: IO[bytes] | None = None
        self._start = 0
        self._end = 0

    @property
    def unread(self) -> int:
        return self._end - self._start

    def write(self, data: bytes) -> bool:
        """Append some bytes. Returns False if they exceed the limit or the file system is full."""
        if self._end + len(data) > self._max_bytes:
            return False
        try:
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 # closed by `close`
            if os.pwrite(self._file.fileno(), data, self._end) < len(data):
                return False  # the file system is full: a later write overwrites the partial one
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


class ResponsePipe:
    """Pipe of a response's body: a thread writes it, the event loop sends it."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], pace: Pace) -> None:
        """Send the pieces with `send`, one after the other, and count their bytes in `pace`."""
        self.failure: Exception | None = None
        self.pieces = 0
        """Number of pieces sent."""
        self._send = send
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._sending: Future[None] | None = None
        self._send_start_s = 0.0

    def unread_s(self) -> float:
        """Return for how many seconds the current piece waits to be sent."""
        return 0.0 if self._sending is None else time.monotonic() - self._send_start_s

    def write(self, data: bytes, /) -> int:
        """Accept bytes; send them when they reach SENT_BYTES.

        Call this in a thread. Raises the error that was given to `fail`.
        """
        if self.failure is not None:
            raise self.failure
        self._buffer += data
        if len(self._buffer) >= SENT_BYTES:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Send the accepted bytes."""
        if self.failure is not None:
            raise self.failure
        if not self._buffer:
            return
        data, self._buffer = bytes(self._buffer), bytearray()
        self._send_start_s = time.monotonic()
        self._sending = asyncio.run_coroutine_threadsafe(self._send_timed(data), self._loop)
        if self.failure is not None:  # checked again: `fail` may have run before `_sending` was set
            self._sending.cancel()
        try:
            self._sending.result()
            self.pieces += 1
        except CancelledError:
            raise self.failure or CancelledError from None
        finally:
            self._sending = None

    async def _send_timed(self, data: bytes) -> None:
        with self._pace.waiting():
            await self._send(data)
        self._pace.move(len(data))

    def fail(self, error: Exception) -> None:
        """Raise `error` in the writing thread immediately."""
        self.failure = self.failure or error
        sending = self._sending  # read once: the thread sets it to None when it is done
        if sending is not None:
            sending.cancel()
