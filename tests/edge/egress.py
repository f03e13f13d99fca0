"""A stand-in for the sidecar that the Workers runtime reaches a container through, where its image can't be pulled.

It speaks what the runtime asks of that sidecar and no more: `CONNECT host:port` tunnels to a port of the container
(200, or 400 where nothing listens), `PUT /egress` is accepted, `GET /ca` gives some text. It enforces no egress rule.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable

INGRESS_PORT = 39001


async def serve(port: int, target: Callable[[int], int], host: str = "127.0.0.1") -> asyncio.Server:
    """Listen on `port` (0 for a free one); `target` gives the local port that a container's port is reached at."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not await _answered_last(reader, writer, target):
                pass  # the runtime keeps the connection for its next try
        writer.close()

    return await asyncio.start_server(handle, host, port)


async def _answered_last(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Callable[[int], int]
) -> bool:
    """Answer one request; return whether it was the connection's last."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    method, address, _ = head.split(" ", 2)
    if method != "CONNECT":
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nstand-in")
        await writer.drain()
        return True
    try:
        port = target(int(address.rpartition(":")[2]))
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, ValueError):
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        return False
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await asyncio.gather(_pump(reader, back_writer), _pump(back_reader, writer))
    return True


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def _main() -> None:
    """Serve inside the container's own network, as the sidecar does: a container's port is the local one."""
    server = await serve(INGRESS_PORT, lambda port: port, "0.0.0.0")  # noqa: S104 # inside a container
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
