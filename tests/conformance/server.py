"""The server that the conformance suite tests: the RPC layer behind the server's own protocols, on a free port.

Reads a ServerCompatRequest from its input and writes a ServerCompatResponse, each after its length as four bytes
(connectrpc.conformance.v1, "server_compat.proto"); serves until a signal ends it.
"""

import asyncio
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import uvicorn
from connectrpc.conformance.v1 import server_compat_pb2
from starlette.types import Receive, Scope, Send

from server.http.held_bytes import HELD, HeldBody, HeldBytes
from server.http.http1 import protocol
from server.http.lifecycle import Draining
from server.rpc.method import methods
from server.rpc.negotiation import error_response
from server.rpc.protocols.json_messages import JsonMessages
from server.rpc.router import Router
from server.settings import Settings
from tests.conformance.service import CONFORMANCE, ConformanceHandlers

LENGTH: Final = struct.Struct(">I")
NO_LIMIT_BYTES: Final = 64 * 1024 * 1024


class _Server(uvicorn.Server):
    """Tells where it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        told = server_compat_pb2.ServerCompatResponse(host=host, port=port).SerializeToString()
        sys.stdout.buffer.write(LENGTH.pack(len(told)) + told)
        sys.stdout.buffer.flush()


async def main() -> None:
    """Serve as the suite asks for."""
    (length,) = LENGTH.unpack(sys.stdin.buffer.read(LENGTH.size))
    asked = server_compat_pb2.ServerCompatRequest.FromString(sys.stdin.buffer.read(length))
    router = Router(
        methods(CONFORMANCE, ConformanceHandlers(), JsonMessages(NO_LIMIT_BYTES)),
        asked.message_receive_limit or NO_LIMIT_BYTES,
        30,
        ThreadPoolExecutor(1),
    )
    held = HeldBytes(NO_LIMIT_BYTES)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault(HELD, HeldBody(held))
        await router(scope, receive, send)
        scope[HELD].release()

    http = protocol({}, Draining(), held, Settings(http2=True), error_response)
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=http,  # type: ignore[arg-type] # uvicorn only calls it
        ws="none",
        lifespan="off",
        log_config=None,
    )
    await _Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())
