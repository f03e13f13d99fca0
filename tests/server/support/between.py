"""HTTP proxy in front of the real server: it forwards, rejects or cuts off requests."""

import http.client
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import httpx

from tests.server.support.process import HUNG_S


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that the proxy received."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Refuse:
    """Respond with this error, without forwarding the request."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection after `at` bytes of the server's response body; None: before its head."""

    at: int | None


Act = Refuse | Cut | Callable[[], None]
"""Action for one request. A function is called, then the request is forwarded."""


class Between:
    """Proxy on a free port that applies each of `acts` to one request.

    Requests after the last act are forwarded.
    """

    def __init__(self, server: httpx.Client | None, *acts: Act | None) -> None:
        """Forward requests to `server`."""
        self.asked: list[Asked] = []
        self.upstream = server
        self.acts = list(acts)
        handler = type("Handler", (_Handler,), {"between": self})
        self.listener = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.listener.server_port}"

    def act(self) -> Act | None:
        """Return the action for the next request."""
        return self.acts.pop(0) if self.acts else None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.listener.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.listener.shutdown()
        self._thread.join()
        self.listener.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    between: Between

    def do_POST(self) -> None:
        """Apply the next action to a request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.between.asked.append(Asked(self.path, headers, body))
        self.close_connection = True
        act = self.between.act()
        if isinstance(act, Refuse):
            self.send_response(act.status)
            for name, value in (*act.headers, ("content-length", str(len(act.body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(act.body)
            return
        if callable(act):
            act()
        if not isinstance(act, Cut) or act.at is not None:
            self._pass_on(body, headers, None if not isinstance(act, Cut) else act.at)

    def _pass_on(self, body: bytes, headers: dict[str, str], at: int | None) -> None:
        upstream = self.between.upstream
        assert upstream is not None
        to = http.client.HTTPConnection(upstream.base_url.host, upstream.base_url.port, timeout=HUNG_S)
        with closing(to) as connection:
            connection.request("POST", self.path.removeprefix("/base"), body, headers)
            answer = connection.getresponse()
            whole = at is None
            try:
                data = answer.read()
            except http.client.IncompleteRead as broken:
                data, whole = broken.partial, False
        with suppress(OSError):  # the client may have disconnected
            self._answer(answer, data[:at], whole=whole)

    def _answer(self, answer: http.client.HTTPResponse, data: bytes, *, whole: bool) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name not in {"transfer-encoding", "content-length", "connection", "trailer", "date", "server"}:
                self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if data else b"")
        if whole:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_of: object) -> None:
        """Log nothing."""
