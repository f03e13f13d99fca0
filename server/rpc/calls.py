"""Unary calls that a run of a model answers: the same few lines behind the short way and behind the router."""

import asyncio
from abc import ABC, abstractmethod
from typing import Final

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from server.batching import Receiver, Waiter
from server.caching import Fresh
from server.errors import InvalidArgument, RequestError
from server.hot import SHORT_BYTES, Prediction, sooner
from server.load import ASKS, Report, asks
from server.replies import Body, Headers, Reply
from server.requests import TIMEOUT_HEADER
from server.rpc import negotiation
from server.rpc.connect import VERSION_HEADER, Connect
from server.rpc.grpc import Grpc
from server.rpc.methods import Context, Method
from server.rpc.status import told
from server.rpc.wire import Wire
from server.runner import Work

_WIRES: Final = {**negotiation.CONNECT, **negotiation.GRPC_WEB, **negotiation.GRPC}
_PLAIN: Final = {media_type.encode(): wire for media_type, wire in _WIRES.items()}
_TIMEOUTS: Final = frozenset({Connect.timeout_header, Grpc.timeout_header})
_ASKS: Final = {**dict.fromkeys((wire.accept_header for wire in _WIRES.values()), b"gzip"), ASKS[0]: ASKS[1]}
"""Headers that ask for an answer of another form, and what they then have among their values."""
_LOOKED_AT: Final = frozenset(
    {b"content-length", VERSION_HEADER, b"content-encoding", b"grpc-encoding", b"expect", TIMEOUT_HEADER}
)
"""Headers that may ask for more than an answer."""


class PredictionCall(ABC):
    """One method: its request's message to a model's work, whose answer is the response's message."""

    path: str

    @abstractmethod
    def decode(self, codec: str, message: bytes) -> Work:
        """Return what a message asks for; its answer is in the same codec. Raises RequestError."""

    def fresh(self, codec: str, work: Work) -> Fresh | None:  # noqa: ARG002
        """Return the tag of an answer, and for how long it may be kept; None where it may not be."""
        return None

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """Count a call that came to nothing before it was queued, where it is known for which model."""

    def method(self) -> Method:
        """Return the method as the router calls it."""
        return Method(self.path, unary=self.__call__, has_side_effects=False)

    async def __call__(self, codec: str, message: bytes, context: Context) -> bytes:
        """Answer one message. Raises RequestError. Cancelling this drops what isn't run yet."""
        try:
            if len(message) <= SHORT_BYTES:
                work = self.decode(codec, message)
            else:  # reading it takes long, above all JSON: others are answered meanwhile
                work = await asyncio.to_thread(self.decode, codec, message)
        except Exception as error:
            self.fail(error)
            raise
        if context.query:
            context.fresh = self.fresh(codec, work)
            if context.is_known():
                return b""
        waiter = Waiter[Body]()
        receiver = Report(work, waiter) if asks(context.headers) else waiter
        work.runner.submit(work, receiver, sooner(context.timeout_s, work.timeout_s))
        answer = await waiter.answer()
        if isinstance(answer, bytes):
            return answer
        context.metadata.headers += [(name.decode(), value.decode()) for name, value in answer.headers]
        return answer.body


class Head(msgspec.Struct, frozen=True, gc=False):
    """What a call's headers say of it."""

    wire: Wire
    gzip: bool
    """Whether the answer may be compressed."""
    timeout_s: float | None
    """How long its caller waits."""
    reports: bool
    """Whether the answer is to report of the server."""


class HotCall(Prediction):
    """A call by the short way: whole, not compressed, on any of the wires."""

    def __init__(self, call: PredictionCall, router: ASGIApp, max_message_bytes: int) -> None:
        """Answer by `call`; what is not plain by `router`."""
        super().__init__(max_message_bytes)
        self._call = call
        self._router = router

    def plain(self, headers: Headers, *, http2: bool) -> Head | None:
        """Return what the headers say where they are such as the public clients send with a small call."""
        wire: Wire | None = None
        timeout: tuple[bytes, bytes] | None = None
        asked: list[bytes] = []
        for name, value in headers:
            if name == b"content-type":
                if wire is not None:
                    return None
                wire = _PLAIN.get(value)
            elif name in _ASKS:
                if _ASKS[name] in value:
                    asked.append(name)
            elif name in _TIMEOUTS:
                timeout = (name, value)
            elif name in _LOOKED_AT and self._is_unusual(name, value):
                return None
        if wire is None or (wire.needs_http2 and not http2):
            return None
        gzip = wire.accept_header in asked  # a browser's own Accept-Encoding says nothing of gRPC-Web's messages
        head = Head(wire, gzip, None, ASKS[0] in asked)
        return head if timeout is None else _late(head, *timeout)

    def _is_unusual(self, name: bytes, value: bytes) -> bool:
        """Return whether a header asks for more than an answer to a small body."""
        if name == b"content-length":
            return not value.isdigit() or int(value) > self.max_short_bytes
        return name != VERSION_HEADER or value != b"1"

    def timeout_s(self, head: Head) -> float | None:
        """Return how long the caller of a plain request waits."""
        return head.timeout_s

    def submit(self, head: Head, body: bytes, receiver: Receiver[Body], timeout_s: float | None = None) -> None:
        """Queue a whole request; `receiver` takes the answer. Raises RequestError."""
        wire, gzip = head.wire, head.gzip
        try:
            work = self._call.decode(wire.codec, wire.unwrap(body, "identity", self.max_body_bytes))
        except Exception as error:
            self._call.fail(error)
            raise
        encode, wrap = work.encode, wire.wrap
        if gzip or not wire.is_bare:
            work.encode = lambda outputs, start, stop: wrap(encode(outputs, start, stop), gzip=gzip)  # type: ignore[arg-type] # of a call: bytes
        if work.timeout_s is not None:
            timeout_s = sooner(timeout_s, work.timeout_s)
        if head.reports:
            receiver = Report(work, receiver)
        work.runner.submit(work, receiver, timeout_s)

    def fail(self, error: Exception, head: Head | None = None) -> None:  # noqa: ARG002
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


def _late(head: Head, name: bytes, value: bytes) -> Head | None:
    """Return the head of a call with its deadline, None where that isn't one of its wire's."""
    try:
        if name != head.wire.timeout_header:
            return None
        return msgspec.structs.replace(head, timeout_s=head.wire.timeout_s(value))
    except InvalidArgument:
        return None
