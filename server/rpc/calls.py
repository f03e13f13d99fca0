"""Unary calls that a run of a model answers: the same few lines behind the short way and behind the router."""

from abc import ABC, abstractmethod
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from server.batching import Receiver, Waiter
from server.endpoints.hot import Prediction, sooner
from server.errors import InvalidArgument, RequestError, UnsupportedMediaType
from server.replies import Body, Headers, Reply
from server.requests import TIMEOUT_HEADER
from server.rpc import negotiation
from server.rpc.connect import VERSION_HEADER, Connect
from server.rpc.grpc import Grpc
from server.rpc.methods import Context, Method
from server.rpc.status import told
from server.rpc.wire import COMPRESS_BYTES, Wire
from server.runner import Work
from server.signature import Outputs

_HTTP1: Final = {**negotiation.CONNECT, **negotiation.GRPC_WEB}
_HTTP2: Final = {**_HTTP1, **negotiation.GRPC}
_PLAIN: Final = {media_type.encode(): wire for media_type, wire in _HTTP2.items()}
_TIMEOUTS: Final = frozenset({Connect.timeout_header, Grpc.timeout_header})
_ACCEPTS: Final = frozenset(wire.accept_header for wire in _HTTP2.values())


class PredictionCall(ABC):
    """One method: its request's message to a model's work, whose answer is the response's message."""

    path: str

    @abstractmethod
    def decode(self, codec: str, message: bytes) -> Work:
        """Return what a message asks for; its answer is in the same codec. Raises RequestError."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """Count a call that came to nothing before it was queued, where it is known for which model."""

    def method(self) -> Method:
        """Return the method as the router calls it."""
        return Method(self.path, unary=self.__call__, has_side_effects=False)

    async def __call__(self, codec: str, message: bytes, context: Context) -> bytes:
        """Answer one message. Raises RequestError. Cancelling this drops what isn't run yet."""
        try:
            work = self.decode(codec, message)
        except Exception as error:
            self.fail(error)
            raise
        waiter = Waiter[Body]()
        work.runner.submit(work, waiter, sooner(context.timeout_s, work.timeout_s))
        answer = await waiter.answer()
        return answer if isinstance(answer, bytes) else answer.body


class HotCall(Prediction):
    """A call by the short way: whole, not compressed, on any of the wires."""

    unusual = frozenset({b"content-encoding", b"grpc-encoding", b"expect", TIMEOUT_HEADER})

    def __init__(self, call: PredictionCall, router: ASGIApp, max_message_bytes: int) -> None:
        """Answer by `call`; what is unusual by `router`."""
        super().__init__(_HTTP1, max_message_bytes)
        self.plain_types_http2 = frozenset(_PLAIN)
        self._call = call
        self._router = router

    def submit(self, headers: Headers, body: bytes, receiver: Receiver[Body], timeout_s: float | None = None) -> None:
        """Queue a whole request; `receiver` takes the answer. Raises RequestError."""
        try:
            wire, stated_s, gzip = _read(headers)
            work = self._call.decode(wire.codec, wire.unwrap(body, "identity", self.max_body_bytes))
        except Exception as error:
            self._call.fail(error)
            raise
        encode = work.encode

        def wrapped(outputs: Outputs, start: int, stop: int) -> Body:
            message = encode(outputs, start, stop)
            assert isinstance(message, bytes)  # noqa: S101 # a call's answer is a message
            return wire.wrap(message, gzip=gzip and len(message) >= COMPRESS_BYTES)

        work.encode = wrapped
        work.runner.submit(work, receiver, sooner(sooner(timeout_s, stated_s), work.timeout_s))

    def fail(self, error: Exception) -> None:
        """Count a request that came to nothing before it was queued."""
        self._call.fail(error)

    def refuse(self, error: RequestError, headers: Headers) -> Reply:
        """Return how a caller is told of a failure, on the wire it speaks."""
        for name, value in headers:
            if name == b"content-type" and value in _PLAIN:
                return _PLAIN[value].refuse(told(error))
        return negotiation.unspoken(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of whatever size, type and headers."""
        await self._router(scope, receive, send)


def _read(headers: Headers) -> tuple[Wire, float | None, bool]:
    """Return what a request speaks, how long its caller waits, and whether the answer may be compressed."""
    wire: Wire | None = None
    timeout = accepted = None
    for name, value in headers:
        if name == b"content-type":
            wire = _PLAIN.get(value)
        elif name in _TIMEOUTS:
            timeout = (name, value)
        elif name in _ACCEPTS:
            accepted = value
        elif name == VERSION_HEADER and value != b"1":
            raise InvalidArgument(f"connect-protocol-version: expected 1; got {str(value)[2:42]}")
    if wire is None:
        raise UnsupportedMediaType(f"content-type: expected one of {', '.join(_HTTP1)}")
    timeout_s = wire.timeout_s(timeout[1]) if timeout is not None and timeout[0] == wire.timeout_header else None
    return wire, timeout_s, accepted is not None and b"gzip" in accepted
