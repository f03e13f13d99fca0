"""Send rejected or cancelled requests to a server process, and measure its memory."""

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.soak.kinds import Kind

CONNECTIONS: Final = 8
"""Number of concurrent clients."""
_READ: Final = 65_536
_HUNG_S: Final = 60
_RESET: Final = struct.pack("ii", 1, 0)
_HEAD: Final = 9
_PATIENCE_S: Final = (0.0, 0.001, 0.01)


@dataclass
class Seen:
    """Results of the requests."""

    responses: Counter[str] = field(default_factory=Counter)
    """Number of requests by status line, or by `HTTP/2`, `none` or `cancelled`."""
    memory_mb: list[float] = field(default_factory=list)
    """The server's resident memory after each tenth of the requests."""


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def run(
    address: tuple[str, int],
    pid: int,
    kinds: Sequence[Kind],
    count: int,
    *,
    cancel: bool,
    tell: Callable[[float], None] = lambda _mb: None,
) -> Seen:
    """Send `count` requests, of each kind in turn, and measure the server's memory.

    The server listens at `address` and has process id `pid`. If `cancel`, a client resets its connection soon after
    it sent its bytes; otherwise it reads the response first.
    """
    seen = Seen()

    async def go() -> None:
        left = iter(range(count))
        for tenth in range(10):
            until = count * (tenth + 1) // 10

            async def client(until: int = until) -> None:
                for number in left:
                    await _one(address, kinds[number % len(kinds)], seen, cancel=cancel)
                    if number >= until - CONNECTIONS:
                        return

            await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
            seen.memory_mb.append(memory_mb(pid))
            tell(seen.memory_mb[-1])

    asyncio.run(go())
    return seen


async def _one(address: tuple[str, int], kind: Kind, seen: Seen, *, cancel: bool) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)  # frees the port at once: no TIME_WAIT
        async with asyncio.timeout(_HUNG_S):
            await loop.sock_connect(connection, address)
            with contextlib.suppress(ConnectionError):  # the server may close the connection before it has all bytes
                await loop.sock_sendall(connection, kind.data)
            if cancel:
                await _reached(loop, connection)
                seen.responses["cancelled"] += 1
            else:
                seen.responses[await _response(loop, connection, kind)] += 1


async def _reached(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Wait a short time for the first bytes of a response.

    The request is then in progress, or was incomplete.
    """
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(random.choice(_PATIENCE_S)):  # noqa: S311 # spreads the moments of the disconnects
            await loop.sock_recv(connection, 1)


async def _response(loop: asyncio.AbstractEventLoop, connection: socket.socket, kind: Kind) -> str:
    """Read the response; return its status line, or `HTTP/2` if all its streams ended."""
    found = bytearray()
    with contextlib.suppress(ConnectionError):
        while data := await loop.sock_recv(connection, _READ):
            found += data
            if kind.streams and _ended(found) >= kind.streams:
                return "HTTP/2"
    return found.partition(b"\r\n")[0].decode("latin-1") if found else "none"


def _ended(data: bytearray) -> int:
    """Return the number of streams that ended by END_STREAM or a reset."""
    ended = place = 0
    while place + _HEAD <= len(data):
        kind, flags = data[place + 3], data[place + 4]
        ended += (kind in {0, 1} and flags & 1 == 1) or kind == 3
        place += _HEAD + int.from_bytes(data[place : place + 3], "big")
    return ended
