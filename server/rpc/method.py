"""RPC methods on encoded messages, and services built from message handlers.

A handler receives and returns decoded messages. The context holds the other properties of its call.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message_factory import GetMessageClass

from server.http.caching import CacheValidator
from server.rpc.protocols import message_codec
from server.rpc.protocols.base import Metadata
from server.rpc.protocols.json_messages import JsonMessages

_WORD_START: Final = re.compile(r"(?<!^)(?=[A-Z])")


class Context(msgspec.Struct):
    """Call properties that a handler can use besides the messages."""

    headers: Sequence[tuple[bytes, bytes]]
    """The request's headers, names in lower case."""
    timeout_s: float | None = None
    """Seconds until the client's deadline when the call arrived. The router enforces it."""
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    """Metadata to send with the response."""
    query: Sequence[tuple[str, str]] = ()
    """Query parameters of a GET call."""
    cache_validator: CacheValidator | None = None
    """Cache validator of the response to a GET call; None if not cacheable."""

    def is_known(self) -> bool:
        """Return True if the client has the response cached; the response is then not sent."""
        return self.cache_validator is not None and self.cache_validator.is_known(self.headers)

    def header(self, name: bytes) -> str:
        """Return the value of the first header with this name; empty if there is none."""
        return next((value.decode("latin-1") for each, value in self.headers if each == name), "")


Unary = Callable[[str, bytes, Context], Awaitable[bytes]]
"""Returns the response message for one request message, in the given codec."""
Stream = Callable[[str, AsyncIterator[bytes], Context], AsyncIterator[bytes]]
"""Yields response messages for request messages, in the given codec."""


class Method(msgspec.Struct, frozen=True):
    """One method of a service. Exactly one of `unary` and `stream` is set."""

    path: str
    unary: Unary | None = None
    stream: Stream | None = None
    has_request_stream: bool = False
    """True if a request may hold any number of messages, including none."""
    has_side_effects: bool = True
    """A method without side effects accepts GET calls."""
    admit: Callable[[int], None] | None = None
    """Raises ResourceExhausted for a stated body length, before the body is read."""


def methods(service: ServiceDescriptor, handlers: object, json: JsonMessages) -> Iterator[Method]:
    """Yield the service's methods that `handlers` implements.

    The handler of method ModelInfer is named model_infer. `json` decodes JSON messages.

    Signatures: `async def unary(request, context) -> response`. A server-streaming handler is an async generator:
    `async def server_streaming(request, context)` yields responses. With client streaming, `request` is an asynchronous
    iterator of requests.
    """
    for descriptor in service.methods:
        handler = getattr(handlers, _WORD_START.sub("_", descriptor.name).lower(), None)
        if handler is not None:
            yield _method(descriptor, handler, json)


def path(descriptor: MethodDescriptor) -> str:
    """Return the URL path of a method."""
    return f"/{descriptor.containing_service.full_name}/{descriptor.name}"


def has_side_effects(descriptor: MethodDescriptor) -> bool:
    """Return True unless the method is declared NO_SIDE_EFFECTS."""
    return bool(descriptor.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS)


def _method(descriptor: MethodDescriptor, handler: Callable[..., Any], json: JsonMessages) -> Method:
    message_type = GetMessageClass(descriptor.input_type)
    has_request_stream, has_response_stream = descriptor.client_streaming, descriptor.server_streaming

    async def decode(codec: str, message: bytes) -> Any:  # noqa: ANN401 # an instance of `message_type`
        if codec == message_codec.PROTO:
            return message_codec.decode(codec, message_type, message)
        json.check_size(len(message))
        return await json.run(partial(message_codec.decode, codec, message_type, message), len(message))

    async def unary(codec: str, message: bytes, context: Context) -> bytes:
        return message_codec.encode(codec, await handler(await decode(codec, message), context))

    async def decode_stream(codec: str, messages: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for message in messages:
            yield await decode(codec, message)

    async def stream(codec: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        request = decode_stream(codec, messages) if has_request_stream else await decode(codec, await anext(messages))
        if not has_response_stream:
            yield message_codec.encode(codec, await handler(request, context))
            return
        async for response in handler(request, context):
            yield message_codec.encode(codec, response)

    is_streaming = has_request_stream or has_response_stream
    return Method(
        path(descriptor),
        unary=None if is_streaming else unary,
        stream=stream if is_streaming else None,
        has_request_stream=has_request_stream,
        has_side_effects=has_side_effects(descriptor),
    )
