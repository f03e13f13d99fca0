"""A stand-in for a container engine: Docker's API, with `python -m server` processes as containers.

    python -m tests.edge.engine SOCKET

It implements the part of Docker's API that the Workers runtime uses. With it, Worker, Durable Object, cron and server
run together on a machine without a container engine. `PUT /standin/command` with a JSON list replaces the command of
later starts, so that a test can have a slow or a broken start.
"""

import asyncio
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.edge.egress import INGRESS_PORT, serve

ROOT = Path(__file__).parents[2]
SERVER = [sys.executable, "-m", "server"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class StandIn:
    """One container: a server process, or a sidecar, which this process serves itself."""

    name: str
    config: dict[str, Any]
    port: int = field(default_factory=_free_port)
    process: asyncio.subprocess.Process | None = None
    sidecar: asyncio.Server | None = None
    status: str = "created"
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    removed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_sidecar(self) -> bool:
        """Whether the runtime created this container as a sidecar."""
        return "--http-ingress-address" in (self.config.get("Cmd") or ())

    @property
    def network(self) -> str:
        """Name of the sidecar whose network this container shares."""
        return str(self.config["HostConfig"]["NetworkMode"]).removeprefix("container:")

    @property
    def exit_code(self) -> int:
        """The exit code as Docker reports it: 128 plus the number of a fatal signal."""
        code = (self.process.returncode if self.process else 0) or 0
        return 128 - code if code < 0 else code


class Engine:
    """The containers by name, and the routes of Docker's API."""

    def __init__(self) -> None:
        """Create the engine with no container."""
        self.containers: dict[str, StandIn] = {}
        self.command = SERVER
        self.starts = 0
        self._watchers: set[asyncio.Task[None]] = set()

    def app(self) -> Starlette:
        """Return the ASGI application of the API."""
        routes = [
            Route("/standin/command", self.set_command, methods=["PUT"]),
            Route("/standin/starts", lambda _: JSONResponse(self.starts)),
            Route("/volumes", lambda _: JSONResponse({"Volumes": []})),
            Route("/networks/bridge", lambda _: JSONResponse(_BRIDGE)),
            Route("/containers/json", self.list),
            Route("/containers/create", self.create, methods=["POST"]),
            Route("/containers/{name}/json", self.inspect),
            Route("/containers/{name}/start", self.start, methods=["POST"]),
            Route("/containers/{name}/wait", self.wait, methods=["POST"]),
            Route("/containers/{name}/kill", self.kill, methods=["POST"]),
            Route("/containers/{name}", self.remove, methods=["DELETE"]),
        ]
        return Starlette(routes=routes, exception_handlers={KeyError: _missing})

    async def set_command(self, request: Request) -> Response:
        """Set the command of later starts; an empty list restores the server itself."""
        self.command = await request.json() or SERVER
        return Response(status_code=204)

    async def list(self, _request: Request) -> Response:
        """List every container."""
        return JSONResponse([self._described(each) for each in self.containers.values()])

    async def create(self, request: Request) -> Response:
        """Create a container."""
        name = request.query_params["name"]
        if name in self.containers:
            return JSONResponse({"message": f"{name} is in use"}, 409)
        self.containers[name] = StandIn(name, await request.json())
        return JSONResponse({"Id": name, "Warnings": []}, 201)

    async def inspect(self, request: Request) -> Response:
        """Describe a container."""
        return JSONResponse(self._described(self.containers[request.path_params["name"]]))

    async def start(self, request: Request) -> Response:
        """Start the server process, or the sidecar."""
        container = self.containers[request.path_params["name"]]
        if container.status == "running":
            return Response(status_code=304)
        container.status = "running"
        if container.is_sidecar:
            container.sidecar = await serve(container.port, lambda port: self._target(container.name, port))
            return Response(status_code=204)
        given = dict(pair.split("=", 1) for pair in container.config.get("Env") or [])
        environment = os.environ | given | {"PORT": str(container.port), "LIFEBOAT_HOST": "127.0.0.1"}
        self.starts += 1
        container.process = await asyncio.create_subprocess_exec(*self.command, cwd=ROOT, env=environment)
        watcher = asyncio.create_task(self._watch(container, container.process))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return Response(status_code=204)

    async def wait(self, request: Request) -> Response:
        """Respond when the container has ended, or has been removed if the condition is `removed`."""
        container = self.containers[request.path_params["name"]]
        await (container.removed if request.query_params.get("condition") == "removed" else container.exited).wait()
        return JSONResponse({"StatusCode": container.exit_code})

    async def kill(self, request: Request) -> Response:
        """Send a signal to a container, SIGKILL by default."""
        container = self.containers[request.path_params["name"]]
        name = request.query_params.get("signal", "SIGKILL")
        number = int(name) if name.isdecimal() else signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
        self._end(container, int(number))
        return Response(status_code=204)

    async def remove(self, request: Request) -> Response:
        """Kill and remove a container."""
        container = self.containers.pop(request.path_params["name"])
        self._end(container, signal.SIGKILL)
        container.removed.set()
        return Response(status_code=204)

    def end_all(self) -> None:
        """Kill every container's process."""
        for container in self.containers.values():
            self._end(container, signal.SIGKILL)

    def _target(self, sidecar: str, port: int) -> int:
        """Return the local port for a port of the sidecar's container."""
        for container in self.containers.values():
            if not container.is_sidecar and container.network == sidecar and port == _SERVER_PORT:
                return container.port
        raise ValueError(f"nothing listens on {port}")

    def _end(self, container: StandIn, number: int) -> None:
        if container.sidecar is not None:
            container.sidecar.close()
            container.status = "exited"
            container.exited.set()
        elif container.process is not None and container.process.returncode is None:
            container.process.send_signal(number)

    async def _watch(self, container: StandIn, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        container.status = "exited"
        container.exited.set()

    def _described(self, container: StandIn) -> dict[str, Any]:
        ports = [{"HostIp": "127.0.0.1", "HostPort": str(container.port)}]
        return {
            "Id": container.name,
            "Name": f"/{container.name}",
            "Image": container.config["Image"],
            "State": {
                "Status": container.status,
                "Running": container.status == "running",
                "Pid": container.process.pid if container.process else 0,
                "ExitCode": container.exit_code,
            },
            "Config": {"Image": container.config["Image"], "Labels": container.config.get("Labels") or {}},
            "NetworkSettings": {"Ports": {f"{INGRESS_PORT}/tcp": ports, f"{_SERVER_PORT}/tcp": ports}},
        }


_SERVER_PORT = 8080
_BRIDGE = {"Name": "bridge", "IPAM": {"Config": [{"Subnet": "127.0.0.0/8", "Gateway": "127.0.0.1"}]}}


async def _missing(_request: Request, error: Exception) -> Response:
    return JSONResponse({"message": f"no such container: {error}"}, 404)


def main() -> None:
    """Serve on the unix socket given on the command line until SIGTERM; then kill every container."""
    engine = Engine()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen()
    print("listening", flush=True)
    server = uvicorn.Server(uvicorn.Config(engine.app(), log_level="critical", timeout_graceful_shutdown=1))
    try:
        server.run([listener])
    finally:
        engine.end_all()


if __name__ == "__main__":
    main()
