"""The ASGI app without a socket, for thousands of requests or special models."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import httpx

from server.app import create_app
from server.models.repository import Repository
from server.settings import Settings


class InProcess:
    """Client that calls the app sequentially; an exception in the app gives a 500 response."""

    def __init__(
        self,
        repository: Repository,
        settings: Settings | None = None,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Create an app that serves `repository`. A test may pass its own clock."""
        app = create_app(repository, settings or Settings(), clock_ns=clock_ns)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(transport=transport, base_url="http://in-process")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def get(self, path: str | httpx.URL, headers: dict[str, str] | None = None) -> httpx.Response:
        """GET a path."""
        return self._runner.run(self._client.get(path, headers=headers))

    def post(self, path: str, json: object) -> httpx.Response:
        """POST a document as JSON."""
        return self._runner.run(self._client.post(path, json=json))

    def post_bytes(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        """POST bytes unchanged."""
        return self._runner.run(self._client.post(path, content=body, headers=headers))
