"""Methods as they are called: bytes of a message in, bytes of a message out; and services made of handlers.

A handler takes messages and gives messages. What it needs of the call beside them is its context.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message_factory import GetMessageClass

from server.caching import Fresh
from server.rpc import codecs
from server.rpc.wire import Metadata

_WORD: Final = re.compile(r"(?<!^)(?=[A-Z])")


class Context(msgspec.Struct):
    """What a handler sees of its call beside the messages."""

    headers: Sequence[tuple[bytes, bytes]]
    """The request's, names in lower case."""
    timeout_s: float | None = None
    """What the caller had left to wait when the call came; the call ends by then by itself."""
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    """What goes with the answer."""
    query: Sequence[tuple[str, str]] = ()
    """The parameters of a call by GET."""
    fresh: Fresh | None = None
    """What is said of how long the answer to a call by GET holds, where it does."""

    def is_known(self) -> bool:
        """Return whether the caller has the answer already: then it isn't sent."""
        return self.fresh is not None and self.fresh.is_known(self.headers)

    def header(self, name: bytes) -> str:
        """Return the first header of this name, empty where there is none."""
        return next((value.decode("latin-1") for each, value in self.headers if each == name), "")


Unary = Callable[[str, bytes, Context], Awaitable[bytes]]
"""Answers one message, given its codec."""
Stream = Callable[[str, AsyncIterator[bytes], Context], AsyncIterator[bytes]]
"""Answers messages with messages, given their codec."""


class Method(msgspec.Struct, frozen=True):
    """One method of a service: exactly one of `unary` and `stream` is there."""

    path: str
    unary: Unary | None = None
    stream: Stream | None = None
    takes_stream: bool = False
    """Whether a request may have several messages, or none."""
    has_side_effects: bool = True
    """Where it has none it can be called by GET."""


def methods(service: ServiceDescriptor, handlers: object) -> Iterator[Method]:
    """Yield the methods of a service that `handlers` has: of a method ModelInfer, its own one named model_infer.

    async def unary(request, context) -> response; async def server_streaming(request, context) yields responses; where
    the caller streams, the request is an asynchronous iterator of requests.
    """
    for described in service.methods:
        handler = getattr(handlers, _WORD.sub("_", described.name).lower(), None)
        if handler is not None:
            yield _method(described, handler)


def path(described: MethodDescriptor) -> str:
    """Return the path that a method is called by."""
    return f"/{described.containing_service.full_name}/{described.name}"


def has_side_effects(described: MethodDescriptor) -> bool:
    """Return whether a method may change something."""
    return bool(described.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS)


def _method(described: MethodDescriptor, handler: Callable[..., Any]) -> Method:
    kind = GetMessageClass(described.input_type)
    takes_stream, gives_stream = described.client_streaming, described.server_streaming

    async def unary(codec: str, message: bytes, context: Context) -> bytes:
        return codecs.encode(codec, await handler(codecs.decode(codec, kind, message), context))

    async def decoded(codec: str, messages: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for message in messages:
            yield codecs.decode(codec, kind, message)

    async def stream(codec: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        request = decoded(codec, messages) if takes_stream else codecs.decode(codec, kind, await anext(messages))
        if not gives_stream:
            yield codecs.encode(codec, await handler(request, context))
            return
        async for response in handler(request, context):
            yield codecs.encode(codec, response)

    streams = takes_stream or gives_stream
    return Method(
        path(described),
        unary=None if streams else unary,
        stream=stream if streams else None,
        takes_stream=takes_stream,
        has_side_effects=has_side_effects(described),
    )
