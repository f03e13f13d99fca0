"""Unary calls that run a model; shared by the fast path and the router."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import Canceled, InvalidArgument, RequestError
from server.http.caching import CacheValidator
from server.http.handler import SHORT_BYTES, FastPathHandler, min_timeout
from server.http.load_report import REPORT_HEADER, Report, requests_report
from server.http.message import Body, Headers, HttpResponse
from server.http.request_body import TIMEOUT_HEADER
from server.inference.batcher import Receiver, Waiter
from server.inference.runner import InferenceRequest, Runner
from server.rpc import negotiation
from server.rpc.method import Context, Method
from server.rpc.protocols.base import RpcProtocol
from server.rpc.protocols.connect import VERSION_HEADER, Connect
from server.rpc.protocols.grpc import Grpc
from server.rpc.protocols.json_messages import LOOP_BYTES, JsonMessages
from server.rpc.protocols.message_codec import JSON
from server.rpc.protocols.status import rpc_error

_PROTOCOLS: Final = {**negotiation.CONNECT, **negotiation.GRPC_WEB, **negotiation.GRPC}
_PROTOCOL_BY_CONTENT_TYPE: Final = {media_type.encode(): protocol for media_type, protocol in _PROTOCOLS.items()}
_TIMEOUTS: Final = frozenset({Connect.timeout_header, Grpc.timeout_header})
_OPTION_HEADERS: Final = {
    **dict.fromkeys((protocol.accept_header for protocol in _PROTOCOLS.values()), b"gzip"),
    REPORT_HEADER[0]: REPORT_HEADER[1],
}
"""Headers that request a different response, and the value that requests it."""
_CHECKED_HEADERS: Final = frozenset(
    {
        b"content-type",
        b"content-length",
        VERSION_HEADER,
        b"content-encoding",
        b"grpc-encoding",
        b"expect",
        TIMEOUT_HEADER,
        *_TIMEOUTS,
        *_OPTION_HEADERS,
    }
)
"""Headers that the fast path checks. Each can change how the call must be handled."""


class LargeMessage(NamedTuple):
    """A large message, parsed only as far as admission control needs."""

    runner: Runner
    rows: int
    """Exact or estimated row count."""
    decode: Callable[[], InferenceRequest[Body]]
    """Decodes the message into an inference request. Raises RequestError. Call it in a thread."""


class PredictionCall(ABC):
    """One unary RPC method that runs a model: request message in, response message out."""

    path: str
    json: JsonMessages
    """Decodes JSON messages that need protobuf."""

    def admit(self, length: int) -> None:  # noqa: ARG002
        """Raise ResourceExhausted if the queue has no room for a body of this length.

        The router calls this function before it reads the body.
        """
        return

    def large_message(self, codec: str, message: bytes) -> LargeMessage | None:  # noqa: ARG002
        """Return the admission data of a message to decode later, or None.

        None: decode the message immediately. Raises RequestError.
        """
        return None

    def decode_plain(self, message: bytes) -> InferenceRequest[Body] | None:  # noqa: ARG002
        """Return the inference request of a JSON message if decoding needs no protobuf, else None."""
        return None

    @abstractmethod
    def decode(self, codec: str, message: bytes) -> InferenceRequest[Body]:
        """Decode a message into an inference request. Raises RequestError.

        The response uses the same codec.
        """

    def cache_validator(self, codec: str, request: InferenceRequest[Body]) -> CacheValidator | None:  # noqa: ARG002
        """Return the cache validator of the response; None if the response must not be cached."""
        return None

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """Count a call that failed before it was queued, if its model is known."""

    def method(self) -> Method:
        """Return the method for the router."""
        return Method(self.path, unary=self.__call__, has_side_effects=False, admit=self.admit)

    async def __call__(self, codec: str, message: bytes, context: Context) -> bytes:
        """Return the response message for one request message. Raises RequestError.

        Cancelling this coroutine drops an inference that has not run yet.
        """
        try:
            large = self.large_message(codec, message) if len(message) > SHORT_BYTES else None
            decoded = await self.decode_async(codec, message) if large is None else large
        except Exception as error:
            self.fail(error)
            raise
        del message
        if isinstance(decoded, LargeMessage):
            body = await _run_large(decoded, context)
        else:
            if context.query:
                context.cache_validator = self.cache_validator(codec, decoded)
                if context.is_known():
                    return b""
            body = await _run_decoded(decoded, context)
        if isinstance(body, bytes):
            return body
        context.metadata.headers += [(name.decode(), value.decode()) for name, value in body.headers]
        return body.body

    async def decode_async(self, codec: str, message: bytes) -> InferenceRequest[Body]:
        """Decode a message, in a thread if decoding is slow. Raises RequestError.

        If the client disconnects while the message waits for the thread, the message is never decoded.
        """
        if codec != JSON or len(message) <= LOOP_BYTES:
            return self.decode(codec, message)
        request = self.decode_plain(message)
        if request is None:
            request = await self.json.run(partial(self.decode, codec, message), len(message))
        return request


async def _run_decoded(request: InferenceRequest[Body], context: Context) -> Body:
    """Run a decoded request and return its response. Raises RequestError."""
    waiter = Waiter[Body]()
    receiver = Report(request.runner, waiter) if requests_report(context.headers) else waiter
    request.runner.submit(request, receiver, min_timeout(context.timeout_s, request.timeout_s))
    return await waiter.result()


async def _run_large(large: LargeMessage, context: Context) -> Body:
    """Return the response to a large message, which waits in the queue undecoded.

    Raises RequestError.
    """
    waiter = Waiter[Body]()
    receiver: Receiver[Body] = Report(large.runner, waiter) if requests_report(context.headers) else waiter
    drop = large.runner.submit_undecoded(large.decode, large.rows, receiver, context.timeout_s)
    try:
        return await waiter.result()
    finally:
        drop()


class Head(msgspec.Struct, frozen=True, gc=False):
    """The fields of the request headers that the fast path uses."""

    protocol: RpcProtocol
    gzip: bool
    """True if the response may be compressed."""
    timeout_s: float | None
    """Seconds until the client's deadline; None if it set no deadline."""
    needs_report: bool
    """True if the response must include a load report."""


_DEFAULT_HEADS: Final = {
    protocol: Head(protocol, gzip=False, timeout_s=None, needs_report=False) for protocol in _PROTOCOLS.values()
}
"""Heads of calls without optional headers, by protocol."""


class RpcFastPathHandler(FastPathHandler):
    """Fast path for unary calls with a whole, uncompressed body, on every RPC protocol."""

    def __init__(self, call: PredictionCall, router: ASGIApp, max_message_bytes: int) -> None:
        """Handle calls with `call`; pass every other request to `router`."""
        super().__init__(max_message_bytes)
        self._call = call
        self._router = router
        self._tasks: set[asyncio.Task[None]] = set()
        """Tasks that wait for a message to be decoded."""

    def accept_headers(self, headers: Headers, *, http2: bool) -> Head | None:
        """Return the parsed headers, or None if the call needs the router."""
        protocol: RpcProtocol | None = None
        timeouts: list[tuple[bytes, bytes]] = []
        options: list[bytes] = []
        for name, value in headers:
            if name not in _CHECKED_HEADERS:
                continue
            if name == b"content-type":
                if protocol is not None or (protocol := _PROTOCOL_BY_CONTENT_TYPE.get(value)) is None:
                    return None
            elif name in _OPTION_HEADERS:
                if _OPTION_HEADERS[name] in value:
                    options.append(name)
            elif name in _TIMEOUTS:
                timeouts.append((name, value))
            elif self._is_unusual(name, value):
                return None
        if protocol is None or (protocol.needs_http2 and not http2):
            return None
        return _head(protocol, options, timeouts) if options or timeouts else _DEFAULT_HEADS[protocol]

    def _is_unusual(self, name: bytes, value: bytes) -> bool:
        """Return True if a header needs more than the fast path supports."""
        if name == b"content-length":
            return (len(value) > self.short_digits or not value.isdigit()) and not self.is_short(value)
        return name != VERSION_HEADER or value != b"1"

    def timeout_s(self, head: Head) -> float | None:
        """Return the seconds until the client's deadline; None if it set no deadline."""
        return head.timeout_s

    def submit(self, head: Head, body: bytes, receiver: Receiver[Body], timeout_s: float | None = None) -> None:
        """Queue a whole request; `receiver` takes the response. Raises RequestError."""
        protocol = head.protocol
        try:
            message = protocol.unwrap(body, "identity", self.max_body_bytes)
            if len(message) > LOOP_BYTES and protocol.codec == JSON:
                self._submit_json(head, message, receiver, timeout_s)
                return
            request = self._call.decode(protocol.codec, message)
        except Exception as error:
            self._call.fail(error)
            raise
        self._run(request, head, receiver, timeout_s)

    def _submit_json(self, head: Head, message: bytes, receiver: Receiver[Body], timeout_s: float | None) -> None:
        """Queue a request whose message may need a thread to decode it. Raises RequestError."""
        request = self._call.decode_plain(message)
        if request is not None:
            self._run(request, head, receiver, timeout_s)
        else:
            task = asyncio.get_running_loop().create_task(self._decode_and_submit(head, message, receiver, timeout_s))
            self._tasks.add(task)  # the event loop holds only a weak reference to a task
            task.add_done_callback(self._tasks.discard)

    async def _decode_and_submit(
        self, head: Head, message: bytes, receiver: Receiver[Body], timeout_s: float | None
    ) -> None:
        """Decode a message in a thread, unless the client disconnected before, and queue it."""
        loop = asyncio.get_running_loop()
        due_s = None if timeout_s is None else loop.time() + timeout_s
        decode = partial(_decode_if_connected, receiver, partial(self._call.decode, head.protocol.codec, message))
        try:
            request = await self._call.json.run(decode, len(message))
        except Exception as error:  # noqa: BLE001 # the receiver delivers every error to the client
            self._call.fail(error)
            receiver.deliver(error)
            return
        try:
            self._run(request, head, receiver, None if due_s is None else max(0.0, due_s - loop.time()))
        except RequestError as error:
            receiver.deliver(error)

    def _run(
        self, request: InferenceRequest[Body], head: Head, receiver: Receiver[Body], timeout_s: float | None
    ) -> None:
        """Queue a decoded request. Raises RequestError."""
        protocol, gzip = head.protocol, head.gzip
        encode, wrap = request.encode, protocol.wrap
        if gzip or not protocol.is_bare:
            request.encode = lambda outputs, start, stop: wrap(encode(outputs, start, stop), gzip=gzip)  # type: ignore[arg-type] # RPC encodes bytes
        if request.timeout_s is not None:
            timeout_s = min_timeout(timeout_s, request.timeout_s)
        if head.needs_report:
            receiver = Report(request.runner, receiver)
        request.runner.submit(request, receiver, timeout_s)

    def fail(self, error: Exception, head: Head | None = None) -> None:  # noqa: ARG002
        """Count a request that failed before it was queued."""
        self._call.fail(error)

    def error_response(self, error: RequestError, headers: Headers) -> HttpResponse:
        """Return the error response in the protocol that the client uses."""
        for name, value in headers:
            if name == b"content-type" and value in _PROTOCOL_BY_CONTENT_TYPE:
                return _PROTOCOL_BY_CONTENT_TYPE[value].error_response(rpc_error(error))
        return negotiation.plain_error_response(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request of any size, content type and headers."""
        await self._router(scope, receive, send)


def _decode_if_connected(
    receiver: Receiver[Body], decode: Callable[[], InferenceRequest[Body]]
) -> InferenceRequest[Body]:
    """Return the result of `decode`. Raises Canceled if the client disconnected."""
    if receiver.is_disconnected():
        raise Canceled("the client disconnected before the response")
    return decode()


def _head(protocol: RpcProtocol, options: Sequence[bytes], timeouts: Sequence[tuple[bytes, bytes]]) -> Head | None:
    """Return the head for these optional headers; None unless at most one deadline is set.

    `options` holds the headers of `_OPTION_HEADERS` that the call has.
    """
    gzip = protocol.accept_header in options  # a browser's own Accept-Encoding does not apply to gRPC-Web messages
    head = Head(protocol, gzip, None, REPORT_HEADER[0] in options)
    if not timeouts:
        return head
    return None if len(timeouts) > 1 else _with_deadline(head, *timeouts[0])


def _with_deadline(head: Head, name: bytes, value: bytes) -> Head | None:
    """Return the head with its deadline; None if the protocol does not support the header.

    None also if the value is invalid.
    """
    try:
        if name != head.protocol.timeout_header:
            return None
        return msgspec.structs.replace(head, timeout_s=head.protocol.timeout_s(value))
    except InvalidArgument:
        return None
