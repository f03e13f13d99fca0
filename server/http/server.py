"""uvicorn server with its own acceptor, a start time and a watchdog."""

import asyncio
import logging
import os
import socket
import sys

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from server.http.acceptor import Acceptor
from server.http.lifecycle import Start
from server.http.watchdog import BEAT_S, Watchdog
from server.models.free_memory import FreeMemory
from server.models.threads import UnjoinedExecutor

_MEMORY_TICKS = 50
"""Ticks of uvicorn, ten per second, between two checks of the process's memory."""
_log = logging.getLogger("uvicorn.error")


class Server(uvicorn.Server):
    """uvicorn server that records when its port is open."""

    def __init__(self, config: uvicorn.Config, start: Start, watchdog: Watchdog) -> None:
        """Create a server for `config`, monitored by `watchdog`."""
        super().__init__(config)
        self._start = start
        self._watchdog = watchdog
        self._memory = FreeMemory()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port.

        uvicorn's own startup accepts only one connection per turn of uvloop, regardless of how many wait.
        """
        if sockets is not None:
            raise NotImplementedError("this server opens its port itself")
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        try:
            listeners = await self._listeners()
        except OSError as error:
            _log.error(error)  # as in uvicorn: the message is sufficient
            await self.lifespan.shutdown()
            sys.exit(STARTUP_FAILURE)
        acceptor = Acceptor(listeners, self._protocol, self.server_state.connections)
        self.servers = [acceptor]  # type: ignore[list-item] # has all attributes that are used
        self._log_started_message(listeners)
        self.started = True

    def _protocol(self) -> asyncio.Protocol:
        protocol_class = self.config.http_protocol_class
        return protocol_class(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg] # as in uvicorn

    async def _listeners(self) -> list[socket.socket]:
        """Return sockets that listen on every address of the host. Raises OSError."""
        config, loop = self.config, asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, config.host, config.port, start_serving=False)
        listeners = []
        for each in server.sockets:
            listener = socket.socket(each.family, each.type, each.proto, fileno=os.dup(each.fileno()))
            listener.setblocking(False)
            listener.listen(config.backlog)
            listeners.append(listener)
        server.close()
        return listeners

    async def main_loop(self) -> None:
        """Run until shutdown; uvicorn calls this function after the port is open."""
        asyncio.get_running_loop().set_default_executor(UnjoinedExecutor(thread_name_prefix="shared"))
        self._start.ready()
        self._watchdog.start()
        await super().main_loop()

    async def on_tick(self, counter: int) -> bool:
        """Run the periodic tasks; uvicorn calls this function ten times per second."""
        self._watchdog.beat()
        if counter % _MEMORY_TICKS == 0:
            self._memory.check(self.server_state.total_requests)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for open requests to finish.

        uvicorn's ticks have stopped, so a task calls the watchdog's `beat`.
        """
        beats = asyncio.create_task(self._beat())
        try:
            await super().shutdown(sockets)
        finally:
            beats.cancel()
            self._watchdog.stop()

    async def _beat(self) -> None:
        while True:
            self._watchdog.beat()
            await asyncio.sleep(BEAT_S)
