"""A stand-in for the sidecar between the Workers runtime and a container.

It is for machines that can't pull the sidecar's image. It implements only what the runtime uses: `CONNECT host:port`
opens a tunnel to a port of the container (200, or 400 if nothing listens there), `PUT /egress` is accepted, and
`GET /ca` returns some text. It enforces no egress rule.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable

INGRESS_PORT = 39001


async def serve(port: int, target: Callable[[int], int], host: str = "127.0.0.1") -> asyncio.Server:
    """Listen on `port` (0 for a free one); `target` maps a container's port to a local port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not await _answered_last(reader, writer, target):
                pass  # the runtime retries on the same connection
        writer.close()

    return await asyncio.start_server(handle, host, port)


async def _answered_last(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Callable[[int], int]
) -> bool:
    """Respond to one request; return True if it was the last one of the connection."""
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
    """Serve inside the container's network, as the sidecar does: a container's port is the local port."""
    server = await serve(INGRESS_PORT, lambda port: port, "0.0.0.0")  # noqa: S104 # inside a container
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
