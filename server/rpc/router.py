"""ASGI application that routes RPC calls to handlers and sends their responses."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from server.errors import Canceled, DeadlineExceeded, InvalidArgument, NotFound, RequestError, Unimplemented
from server.http.header_numbers import whole_number
from server.http.held_bytes import HELD, HeldBody
from server.http.message import HttpResponse
from server.http.request_body import body_chunk, read_whole, wait_for_disconnect
from server.http.responses import asgi_response, failure, uncacheable
from server.http.trailers import BREAK_OFF
from server.rpc import negotiation
from server.rpc.method import Context, Method, Stream, Unary
from server.rpc.negotiation import ConnectGetRequest
from server.rpc.protocols.base import RpcProtocol, one_message
from server.rpc.protocols.envelope import Inbound, messages, too_large
from server.rpc.protocols.status import RpcError, rpc_error

_VARY: Final = (b"vary", b"accept-encoding")
"""Request header that changes the response to a GET call besides the URL."""
_SMALL_COMPRESSED_BYTES: Final = 1024
"""Maximum compressed size to decompress on the event loop; gives at most 1 MB."""
_FRAMING: Final = 2
"""Maximum ratio of body size to message size; base64 and the envelope enlarge a body."""


_Chunks = asyncio.Queue[bytes | RequestError | None]
"""Queue of a request body's chunks, then None or the error that ended the body."""


class Router:
    """ASGI application that dispatches calls to methods by URL path."""

    def __init__(
        self, methods: Iterable[Method], max_message_bytes: int, message_timeout_s: float, executor: Executor
    ) -> None:
        """Route calls to `methods`; reject messages larger than `max_message_bytes`, decompressed.

        Also reject a stream message whose rest does not arrive within `message_timeout_s`. Large messages are
        decompressed in `executor`.
        """
        self._executor = executor
        self.methods: Mapping[str, Method] = {method.path: method for method in methods}
        self._max_message_bytes = max_message_bytes
        self._message_timeout_s = message_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a call.

        HTTP errors outside any RPC protocol (404, 405, 415) get a plain HTTP response.
        """
        method = self.methods.get(scope["path"])
        if method is None:
            await asgi_response(_no_method(scope))(scope, receive, send)
            return
        try:
            get_request = negotiation.parse_get_request(scope) if _allows_get(method, scope) else None
            protocol = get_request.protocol if get_request is not None else negotiation.negotiate(method, scope)
        except (InvalidArgument, Unimplemented) as error:  # only a GET query raises these; GET is Connect only
            response = negotiation.CONNECT["application/json"].error_response(rpc_error(error))
            await asgi_response(uncacheable(response))(scope, receive, send)
            return
        except RequestError as error:
            await asgi_response(negotiation.plain_error_response(error))(scope, receive, send)
            return
        call = _Call(protocol, scope, receive, send, self._max_message_bytes, self._executor)
        if method.unary is not None:
            await call.unary(method.unary, get_request, method.admit)
        elif method.stream is not None:
            await call.stream(method.stream, self._message_timeout_s, has_request_stream=method.has_request_stream)


def _no_method(scope: Scope) -> HttpResponse:
    """Return the response to a call of an unknown method, without reading the body.

    A gRPC client gets Unimplemented in its own protocol, every other client a plain 404.
    """
    error = NotFound(f"there is no method {scope['path'][:128]}")
    media_type = negotiation.content_type(scope)
    protocol = negotiation.GRPC.get(media_type) or negotiation.GRPC_WEB.get(media_type)
    if protocol is None or scope["method"] != "POST":
        return negotiation.plain_error_response(error)
    return protocol.error_response(rpc_error(Unimplemented(error.message)))


def _allows_get(method: Method, scope: Scope) -> bool:
    return scope["method"] in {"GET", "HEAD"} and method.unary is not None and not method.has_side_effects


class _Call:
    """One RPC call: reads the request, runs the handler, sends the response."""

    def __init__(  # noqa: PLR0913, PLR0917 # the three ASGI parameters and the request limits
        self,
        protocol: RpcProtocol,
        scope: Scope,
        receive: Receive,
        send: Send,
        max_message_bytes: int,
        executor: Executor,
    ) -> None:
        self._executor = executor
        self._protocol = protocol
        self._scope = scope
        self._receive = receive
        self._send = send
        self._max_bytes = max_message_bytes
        self._held: HeldBody = scope[HELD]
        self._context = Context(scope["headers"])
        self._gzip = negotiation.accepts_gzip(protocol, scope)
        self._started = False
        self._has_disconnected = False

    async def unary(
        self, handler: Unary, get_request: ConnectGetRequest | None, admit: Callable[[int], None] | None = None
    ) -> None:
        """Handle a unary call: one request message, one response message."""
        protocol, context = self._protocol, self._context
        try:
            encoding = self._begin()
            async with asyncio.timeout(context.timeout_s):
                if get_request is not None:
                    context.query, encoding = get_request.parameters, get_request.encoding
                if get_request is None and admit is not None:
                    admit(self._stated_length())
                message = await self._unwrap(
                    await self._body() if get_request is None else get_request.message, encoding
                )
                watch = asyncio.ensure_future(self._watch(asyncio.current_task()))
                try:
                    result = await handler(protocol.codec, message, context)
                finally:
                    watch.cancel()
            response = protocol.wrap(result, context.metadata, gzip=self._gzip)
            if get_request is not None:
                response = _with_cache_headers(response, context)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # nothing was sent yet
            if self._is_disconnected(error):
                return
            response = protocol.error_response(self._rpc_error(error), context.metadata)
            response = response if get_request is None else uncacheable(response)
        await asgi_response(response)(self._scope, self._receive, self._send)

    async def stream(self, handler: Stream, timeout_s: float, *, has_request_stream: bool) -> None:
        """Handle a streaming call; send each response message as soon as it exists."""
        protocol, context = self._protocol, self._context
        chunks = _Chunks(1)
        if has_request_stream and (ends := self._scope.get("extensions", {}).get(BREAK_OFF)) is not None:
            ends.lift_timeout()  # the timeout applies to each message, not to the whole stream
        pump = asyncio.ensure_future(self._pump(chunks, asyncio.current_task()))
        stream_error: RpcError | None = None
        try:
            encoding = self._begin()
            async with asyncio.timeout(context.timeout_s):
                inbound = Inbound(encoding, self._max_bytes)
                requests = messages(protocol.raw(self._chunks(chunks)), inbound, self._held, timeout_s)
                if not has_request_stream:
                    requests = _one_message_stream(await _single_message(requests))
                async for message in handler(protocol.codec, requests, context):
                    await self._write(protocol.message(message, gzip=self._gzip))
                    await asyncio.sleep(0)  # let other tasks run, even if many messages are ready
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # the end of the stream carries the error
            if self._is_disconnected(error):
                return
            stream_error = self._rpc_error(error)
        finally:
            pump.cancel()
        end = protocol.end(stream_error, context.metadata)
        with suppress(Canceled):
            await self._write(end.body, more=False)
            if end.trailers:
                await self._emit({"type": "http.response.trailers", "headers": list(end.trailers)})

    def _begin(self) -> str:
        """Parse the headers, set the deadline, and return the request's compression. Raises RequestError."""
        protocol, scope = self._protocol, self._scope
        if protocol.needs_http2:  # gRPC implies trailers; uvicorn sends them only with this header
            scope["headers"].append((b"te", b"trailers"))
        timeout = negotiation.header(scope, protocol.timeout_header)
        if timeout is not None:
            self._context.timeout_s = protocol.timeout_s(timeout)
        negotiation.check_version(protocol, scope)
        return protocol.encoding(negotiation.header(scope, protocol.encoding_header) or b"")

    def _stated_length(self) -> int:
        """Return the Content-Length, 0 if the header is missing. Raises InvalidArgument."""
        length = negotiation.header(self._scope, b"content-length")
        return 0 if length is None else whole_number("content-length", length)

    async def _unwrap(self, body: bytes, encoding: str) -> bytes:
        """Return the message in a whole body; decompress a large one in a thread.

        The decompressed bytes count as held bytes, as the body does. Raises RequestError.
        """
        unwrap = partial(self._protocol.unwrap, body, encoding, self._max_bytes)
        if encoding == "identity" or len(body) <= _SMALL_COMPRESSED_BYTES:
            return unwrap()
        message = await asyncio.get_running_loop().run_in_executor(self._executor, unwrap)
        self._held.take(max(0, len(message) - len(body)))
        return message

    async def _body(self) -> bytes:
        """Read the body of a unary call. Raises RequestError.

        Raises Canceled if the client disconnects.
        """
        max_bytes = _FRAMING * self._max_bytes + 64
        try:
            return await read_whole(self._receive, self._held, max_bytes, partial(too_large, self._max_bytes))
        except Canceled:
            self._has_disconnected = True
            raise

    async def _watch(self, task: "asyncio.Task[None] | None") -> None:
        """Cancel the call when the client disconnects, to drop the pending inference."""
        await wait_for_disconnect(self._receive)
        self._handle_disconnect(task)

    async def _pump(self, chunks: _Chunks, task: "asyncio.Task[None] | None") -> None:
        """Put the body's chunks into `chunks`, then None or the error; then watch for disconnect.

        The queue bounds how far this task reads ahead of the handler.
        """
        try:
            await self._pump_body(chunks)
        except Canceled:
            self._handle_disconnect(task)
            return
        except RequestError as error:
            await chunks.put(error)
        await self._watch(task)

    async def _pump_body(self, chunks: _Chunks) -> None:
        more = True
        while more:
            chunk, more = body_chunk(await self._receive())
            self._held.take(len(chunk))
            await chunks.put(chunk)
        await chunks.put(None)

    async def _chunks(self, chunks: _Chunks) -> AsyncIterator[bytes]:
        while (chunk := await chunks.get()) is not None:
            if isinstance(chunk, RequestError):
                raise chunk
            self._held.give_back(len(chunk))
            yield chunk

    def _handle_disconnect(self, task: "asyncio.Task[None] | None") -> None:
        self._has_disconnected = True
        if task is not None:
            task.cancel()

    def _is_disconnected(self, error: BaseException) -> bool:
        """Return True if the client disconnected, so `error` cannot be sent.

        In that case the cancellation was for this call only, and the task continues.
        """
        if (
            self._has_disconnected
            and isinstance(error, asyncio.CancelledError)
            and (task := asyncio.current_task()) is not None
        ):
            task.uncancel()
        return self._has_disconnected

    def _rpc_error(self, error: BaseException) -> RpcError:
        if isinstance(error, RpcError):
            return error
        if isinstance(error, TimeoutError):
            return rpc_error(DeadlineExceeded("the deadline passed before the response"))
        return rpc_error(failure(error, self._scope["headers"]))

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        """Write a part of a stream; the first write also sends the headers."""
        if not self._started:
            self._started = True
            protocol = self._protocol
            fields = [
                (b"content-type", protocol.media_type.encode()),
                *protocol.head(self._context.metadata, gzip=self._gzip),
            ]
            has_trailers = protocol.media_type in negotiation.GRPC
            await self._emit(
                {"type": "http.response.start", "status": 200, "headers": fields, "trailers": has_trailers}
            )
        if body or not more:
            await self._emit({"type": "http.response.body", "body": body, "more_body": more})

    async def _emit(self, message: Message) -> None:
        """Send an ASGI message. Raises Canceled if the connection is closed, even before `http.disconnect`."""
        try:
            await self._send(message)
        except (OSError, RuntimeError):  # each event loop's transport raises its own error
            self._has_disconnected = True
            raise Canceled("the client disconnected before the response") from None


def _with_cache_headers(response: HttpResponse, context: Context) -> HttpResponse:
    """Add the cache headers to the response to a GET call.

    The status is 304 if the client has the response cached.
    """
    if context.cache_validator is None:
        return uncacheable(response)
    fields = (*context.cache_validator.fields(), _VARY)
    if context.is_known():
        return HttpResponse(b"", response.media_type, fields, 304)
    return response._replace(headers=(*response.headers, *fields))


async def _single_message(requests: AsyncIterator[bytes]) -> bytes:
    """Return the only message of a request. Raises Unimplemented for none or several."""
    single: bytes | None = None
    async for message in requests:
        if single is not None:
            raise one_message(2)
        single = message
    if single is None:
        raise one_message(0)
    return single


async def _one_message_stream(message: bytes) -> AsyncIterator[bytes]:
    yield message
