"""The ASGI side of the RPC wires: a request to its method and wire, through its handler, and the answer back."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from server.errors import Canceled, DeadlineExceeded, InvalidArgument, NotFound, RequestError, Unimplemented
from server.replies import Reply
from server.responses import failure, response, uncacheable
from server.rpc import negotiation
from server.rpc.envelope import Inbound, messages, too_large
from server.rpc.methods import Context, Method, Stream, Unary
from server.rpc.negotiation import Question
from server.rpc.status import RpcError, told
from server.rpc.wire import Wire, one_message

_VARY: Final = (b"vary", b"accept-encoding")
"""What decides on the form of an answer by GET beside its address."""
_FRAMING: Final = 2
"""How much larger than its message a body may be at most: base64 and an envelope."""


class Router:
    """Every method that can be called, by its path."""

    def __init__(self, methods: Iterable[Method], max_message_bytes: int) -> None:
        """Call these methods; a message of more than `max_message_bytes`, unpacked, is refused."""
        self.methods: Mapping[str, Method] = {method.path: method for method in methods}
        self._max_message_bytes = max_message_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call. What no wire can be told (404, 405, 415) is HTTP's own, in the error envelope."""
        method = self.methods.get(scope["path"])
        if method is None:
            await response(_no_method(scope))(scope, receive, send)
            return
        try:
            asked = negotiation.question(scope) if _may_be_asked(method, scope) else None
            wire = asked.wire if asked is not None else negotiation.wire(method, scope)
        except (InvalidArgument, Unimplemented) as error:  # of a query: its wire is Connect's
            refused = negotiation.CONNECT["application/json"].refuse(told(error))
            await response(uncacheable(refused))(scope, receive, send)
            return
        except RequestError as error:
            await response(negotiation.unspoken(error))(scope, receive, send)
            return
        call = _Call(wire, scope, receive, send, self._max_message_bytes)
        if method.unary is not None:
            await call.unary(method.unary, asked)
        elif method.stream is not None:
            await call.stream(method.stream, takes_stream=method.takes_stream)


def _no_method(scope: Scope) -> Reply:
    """Return the answer to a call of what there isn't: gRPC's callers are told in their own way, nothing is read."""
    unknown = NotFound(f"there is no method {scope['path'][:128]}")
    stated = negotiation.content_type(scope)
    spoken = negotiation.GRPC.get(stated) or negotiation.GRPC_WEB.get(stated)
    if spoken is None or scope["method"] != "POST":
        return negotiation.unspoken(unknown)
    return spoken.refuse(told(Unimplemented(unknown.message)))


def _may_be_asked(method: Method, scope: Scope) -> bool:
    return scope["method"] in {"GET", "HEAD"} and method.unary is not None and not method.has_side_effects


class _Call:
    """One request on its way through a handler."""

    def __init__(self, wire: Wire, scope: Scope, receive: Receive, send: Send, max_message_bytes: int) -> None:
        self._wire = wire
        self._scope = scope
        self._receive = receive
        self._send = send
        self._max_bytes = max_message_bytes
        self._context = Context(scope["headers"])
        self._gzip = negotiation.takes_gzip(wire, scope)
        self._started = False
        self._left = False

    async def unary(self, handler: Unary, asked: Question | None) -> None:
        """Answer one message with one."""
        wire, context = self._wire, self._context
        try:
            encoding = self._begin()
            async with asyncio.timeout(context.timeout_s):
                if asked is not None:
                    context.query, encoding = asked.parameters, asked.encoding
                message = wire.unwrap(await self._body() if asked is None else asked.message, encoding, self._max_bytes)
                watch = asyncio.ensure_future(self._watch(asyncio.current_task()))
                try:
                    answer = await handler(wire.codec, message, context)
                finally:
                    watch.cancel()
            reply = wire.wrap(answer, context.metadata, gzip=self._gzip)
            if asked is not None:
                reply = _kept(reply, context)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # nothing was sent: each can be answered
            if self._gone(error):
                return
            reply = wire.refuse(self._told(error), context.metadata)
            reply = reply if asked is None else uncacheable(reply)
        await response(reply)(self._scope, self._receive, self._send)

    async def stream(self, handler: Stream, *, takes_stream: bool) -> None:
        """Answer messages with messages, each as soon as it is there."""
        wire, context = self._wire, self._context
        chunks: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        pump = asyncio.ensure_future(self._pump(chunks, asyncio.current_task()))
        failed: RpcError | None = None
        try:
            encoding = self._begin()
            async with asyncio.timeout(context.timeout_s):
                requests = messages(wire.raw(self._chunks(chunks)), Inbound(encoding, self._max_bytes))
                if not takes_stream:
                    requests = _given(await _only(requests))
                async for message in handler(wire.codec, requests, context):
                    await self._write(wire.message(message, gzip=self._gzip))
                    await asyncio.sleep(0)  # others have their turn, however much is there at once
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # a stream's end says how it failed
            if self._gone(error):
                return
            failed = self._told(error)
        finally:
            pump.cancel()
        end = wire.end(failed, context.metadata)
        with suppress(Canceled):
            await self._write(end.body, more=False)
            if end.trailers:
                await self._emit({"type": "http.response.trailers", "headers": list(end.trailers)})

    def _begin(self) -> str:
        """Read the head: set the deadline, and return how the request is compressed. Raises RequestError."""
        wire, scope = self._wire, self._scope
        if wire.needs_http2:  # who calls by gRPC takes trailers; uvicorn sends them only to who says so
            scope["headers"].append((b"te", b"trailers"))
        timeout = negotiation.header(scope, wire.timeout_header)
        if timeout is not None:
            self._context.timeout_s = wire.timeout_s(timeout)
        negotiation.check_version(wire, scope)
        return wire.encoding(negotiation.header(scope, wire.encoding_header) or b"")

    async def _body(self) -> bytes:
        """Return the body of a unary call. Raises PayloadTooLarge, Canceled where the caller left."""
        chunks: list[bytes] = []
        length = 0
        more = True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                self._left = True
                raise Canceled("the caller left before its request was whole")
            chunks.append(message.get("body", b""))
            length += len(chunks[-1])
            if length > _FRAMING * self._max_bytes + 64:
                raise too_large(self._max_bytes)
            more = message.get("more_body", False)
        return b"".join(chunks)

    async def _watch(self, task: "asyncio.Task[None] | None") -> None:
        """Cancel the call when its caller leaves: what it waits for is then dropped."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave(task)

    async def _pump(self, chunks: "asyncio.Queue[bytes | None]", task: "asyncio.Task[None] | None") -> None:
        """Hand on what is received, None at its end, no faster than it is taken; and then watch."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._leave(task)
                return
            await chunks.put(message.get("body", b""))
            more = message.get("more_body", False)
        await chunks.put(None)
        await self._watch(task)

    async def _chunks(self, chunks: "asyncio.Queue[bytes | None]") -> AsyncIterator[bytes]:
        while (chunk := await chunks.get()) is not None:
            yield chunk

    def _leave(self, task: "asyncio.Task[None] | None") -> None:
        self._left = True
        if task is not None:
            task.cancel()

    def _gone(self, error: BaseException) -> bool:
        """Return whether there is nobody to tell of `error`: what was cancelled was this call alone."""
        if self._left and isinstance(error, asyncio.CancelledError) and (task := asyncio.current_task()) is not None:
            task.uncancel()
        return self._left

    def _told(self, error: BaseException) -> RpcError:
        if isinstance(error, RpcError):
            return error
        if isinstance(error, TimeoutError):
            return told(DeadlineExceeded("the deadline passed before the answer"))
        return told(failure(error, self._scope["headers"]))

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        """Write a part of a stream, and before the first one the head."""
        if not self._started:
            self._started = True
            wire = self._wire
            fields = [(b"content-type", wire.media_type.encode()), *wire.head(self._context.metadata, gzip=self._gzip)]
            has_trailers = wire.media_type in negotiation.GRPC
            await self._emit(
                {"type": "http.response.start", "status": 200, "headers": fields, "trailers": has_trailers}
            )
        if body or not more:
            await self._emit({"type": "http.response.body", "body": body, "more_body": more})

    async def _emit(self, message: Message) -> None:
        """Send a message. Raises Canceled where the connection is gone, of which nothing has been heard yet."""
        try:
            await self._send(message)
        except (OSError, RuntimeError):  # of the transport, which has its own words for it on each loop
            self._left = True
            raise Canceled("the caller left before its answer") from None


def _kept(reply: Reply, context: Context) -> Reply:
    """Return the answer to a call by GET with what is said of how long it holds; 304 where the caller has it."""
    if context.fresh is None:
        return uncacheable(reply)
    fields = (*context.fresh.fields(), _VARY)
    if context.is_known():
        return Reply(b"", reply.media_type, fields, 304)
    return reply._replace(headers=(*reply.headers, *fields))


async def _only(requests: AsyncIterator[bytes]) -> bytes:
    """Return the one message that a request holds. Raises Unimplemented."""
    found: bytes | None = None
    async for message in requests:
        if found is not None:
            raise one_message(2)
        found = message
    if found is None:
        raise one_message(0)
    return found


async def _given(message: bytes) -> AsyncIterator[bytes]:
    yield message
