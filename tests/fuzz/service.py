"""The server in this process on memory transports, and measurements of each exchange of bytes."""

import asyncio
import gc
import logging
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from server.http.held_bytes import HeldBytes
from server.models.repository import Repository
from server.rest.handler import RestHandler
from server.settings import Settings
from tests.fuzz.transport import MemoryTransport, TimedLoop
from tests.server.support.rpc import MODELS
from tests.server.support.wire import Wire

SETTINGS: Final = {
    "http2": True,
    "admin_token": "token-of-the-fuzzer",
    "max_record_batch_bytes": 16 * 1024 * 1024,
    "max_spool_bytes": 16 * 1024 * 1024,
}
"""Settings that differ from the defaults.

Every interface is on, and memory limits are below the oracle's.
"""
HUNG_S: Final = 30.0
"""Seconds of wall time after which an exchange counts as hung.

Generous, because the machine may be busy.
"""
_POLL_S: Final = 0.001
_THREAD_POLLS: Final = 8
"""Number of idle polls of a thread in one quiet turn.

A thread may wait for the client, or for a core.
"""
_QUIET_TURNS: Final = 4
"""Idle turns of the event loop after which the server waits for its client."""


@dataclass
class Outcome:
    """Measurements of one input."""

    written: list[bytes] = field(default_factory=list)
    """The bytes that each connection received."""
    is_closed: list[bool] = field(default_factory=list)
    """Whether the server closed each connection by itself."""
    is_hung: bool = False
    left_behind: str = ""
    """What the server still held after its clients disconnected; empty: nothing."""
    errors: list[str] = field(default_factory=list)
    """Unforeseen exceptions in the log."""
    worst_turn_s: float = 0.0
    cpu_s: float = 0.0
    """CPU seconds of all threads."""
    memory_bytes: int = 0
    """Growth of the process's peak memory."""


class Service:
    """The committed models, served on HTTP/1.1 and HTTP/2. Belongs to one thread."""

    def __init__(self) -> None:
        self.loop = TimedLoop()
        self.repository = Repository.load(MODELS)
        self._wire = Wire(self.repository, Settings(**SETTINGS), 75, lambda: self.loop)  # type: ignore[arg-type] # each value has its field's type
        self._wire.state.default_headers = [(b"date", b"now")]
        self.app = self._wire.app
        self._held = [each for each in gc.get_objects() if type(each) is HeldBytes]
        self._log = _Errors()
        self._outcome = Outcome()

    def __enter__(self) -> Self:
        self._wire.runner.__enter__()
        self._log.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._log.end()
        self._wire.runner.__exit__(kind, error, at)

    def exchange(
        self, *connections: Sequence[bytes], until_closed: bool = False, without_fast_path: bool = False
    ) -> Outcome:
        """Send pieces of bytes, each list on its own connection, one connection after the other.

        Returns the outcome. A connection gets its next piece when the server reads. After its last piece it waits
        until the server has closed it, or has nothing to do until the client sends more; then it disconnects.
        """
        kept = dict(self.app.fast_path_handlers) if without_fast_path else {}
        if without_fast_path:
            self.app.fast_path_handlers.clear()  # type: ignore[attr-defined] # a dict; only the app changes it
        try:
            return self.measured(lambda: self._wire.runner.run(self._exchanges(connections, until_closed)))
        finally:
            self.app.fast_path_handlers.update(kept)  # type: ignore[attr-defined] # as above

    def measured(self, work: Callable[[], object]) -> Outcome:
        """Call a function of the server in this thread; return its measurements and errors."""
        outcome = self._outcome = Outcome()
        self._log.errors.clear()
        self.loop.worst_turn_s = 0.0
        peak, cpu_s = _peak_bytes(), time.process_time()
        work()
        outcome.cpu_s = time.process_time() - cpu_s
        outcome.memory_bytes = _peak_bytes() - peak
        outcome.worst_turn_s = self.loop.worst_turn_s
        outcome.errors += self._log.errors
        return outcome

    async def _exchanges(self, connections: Sequence[Sequence[bytes]], until_closed: bool) -> None:
        for pieces in connections:
            transport = MemoryTransport(self.loop, self._wire.protocol())
            try:
                async with asyncio.timeout(HUNG_S):
                    await self._send(transport, pieces)
                    await (transport.ended if until_closed else self._idle(transport))
            except TimeoutError:
                self._outcome.is_hung = True
            self._outcome.is_closed.append(transport.ended.done())
            transport.end()
            await transport.closed
            self._outcome.written.append(bytes(transport.written))
        self._outcome.left_behind = await self._left_behind()

    async def _send(self, transport: MemoryTransport, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            if transport.ended.done():
                break
            while not transport.resumed.is_set() and not transport.ended.done():  # it may pause again at once
                await _first(transport.resumed.wait(), transport.ended)
            if not transport.ended.done():
                transport.feed(piece)
            await asyncio.sleep(0)

    async def _idle(self, transport: MemoryTransport) -> None:
        """Return when the server waits for its client, or has closed the connection."""
        quiet = 0.0
        while quiet < _QUIET_TURNS and not transport.ended.done():
            cpu_s = time.process_time()
            await asyncio.sleep(_POLL_S if self.loop.in_threads else 0)
            is_idle = self.loop.is_idle() and (not self.loop.in_threads or time.process_time() - cpu_s < _POLL_S / 4)
            quiet = quiet + (1 / _THREAD_POLLS if self.loop.in_threads else 1) if is_idle else 0

    async def _left_behind(self) -> str:
        """Return what the server still holds after a generous wait for its release."""
        deadline_s = time.monotonic() + HUNG_S
        while left := self._holding():
            if time.monotonic() > deadline_s:
                return left
            await asyncio.sleep(_POLL_S / 4 if self.loop.in_threads else 0)
        return ""

    def _holding(self) -> str:
        state = self._wire.state
        prediction = self.app.fast_path_handlers["/api/predict"] if self.app.fast_path_handlers else None
        load = prediction.runner.load() if isinstance(prediction, RestHandler) else (0, 0)
        held = sum(each.held for each in self._held)
        if state.tasks or state.connections or any(load) or held:
            tasks, connections = len(state.tasks), len(state.connections)
            return f"{tasks} tasks, {connections} connections, {held} bytes of bodies, load {tuple(load)}"
        return ""


async def _first(*waits: Any) -> None:  # noqa: ANN401 # awaitables of any kind
    futures = [asyncio.ensure_future(each) for each in waits]
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    futures[0].cancel()


def _peak_bytes() -> int:
    """Return the process's peak memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _Errors(logging.Handler):
    """Log handler that collects unforeseen exceptions."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def begin(self) -> None:
        """Replace all other handlers."""
        logging.basicConfig(level=logging.INFO, handlers=[self], force=True)
        for name in ("uvicorn", "uvicorn.error"):
            logging.getLogger(name).propagate = True

    def end(self) -> None:
        """Remove this handler."""
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Store a record that has an exception."""
        if record.exc_info:
            formatter = logging.Formatter()
            self.errors.append(f"{record.name}: {formatter.formatException(record.exc_info)}")
