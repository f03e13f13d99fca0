"""The conformance suite's service on the server's own RPC layer: answers what each request asks for.

The messages are made from the suite's own .proto files when the suite is installed (scripts/conformance).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from connectrpc.conformance.v1 import service_pb2

from server.rpc.method import Context
from server.rpc.protocols.status import Code, Detail, RpcError

CONFORMANCE = service_pb2.DESCRIPTOR.services_by_name["ConformanceService"]
Message = Any
"""Of a type made when the suite is installed."""


class ConformanceHandlers:
    """What the suite calls; Unimplemented is what it says."""

    async def unary(self, request: Message, context: Context) -> Message:
        """Answer one request."""
        return service_pb2.UnaryResponse(payload=await _answer(request.response_definition, [request], context))

    async def idempotent_unary(self, request: Message, context: Context) -> Message:
        """Answer one request, by GET too."""
        payload = await _answer(request.response_definition, [request], context)
        return service_pb2.IdempotentUnaryResponse(payload=payload)

    async def client_stream(self, requests: AsyncIterator[Message], context: Context) -> Message:
        """Answer all requests with one response, as the first of them asks."""
        given = [request async for request in requests]
        definition = given[0].response_definition if given else service_pb2.UnaryResponseDefinition()
        return service_pb2.ClientStreamResponse(payload=await _answer(definition, given, context))

    async def server_stream(self, request: Message, context: Context) -> AsyncIterator[Message]:
        """Answer one request with what it asks for."""
        async for payload in _payloads(request.response_definition, [request], context):
            yield service_pb2.ServerStreamResponse(payload=payload)

    async def bidi_stream(self, requests: AsyncIterator[Message], context: Context) -> AsyncIterator[Message]:
        """Answer in turns where the first request is for full duplex, else after the last request."""
        first = await anext(requests, None)
        if first is None:
            return
        if first.full_duplex:
            async for payload in _turns(first, requests, context):
                yield service_pb2.BidiStreamResponse(payload=payload)
            return
        given = [first, *[request async for request in requests]]
        async for payload in _payloads(first.response_definition, given, context):
            yield service_pb2.BidiStreamResponse(payload=payload)


async def _answer(definition: Message, requests: Sequence[Message], context: Context) -> Message:
    """Return the payload that a definition asks for, or raise its error."""
    _add_metadata(definition, context)
    payload = service_pb2.ConformancePayload(data=definition.response_data, request_info=_info(requests, context))
    await asyncio.sleep(definition.response_delay_ms / 1000)
    if definition.HasField("error"):
        raise _error(definition.error, payload.request_info)
    return payload


async def _payloads(definition: Message, requests: Sequence[Message], context: Context) -> AsyncIterator[Message]:
    _add_metadata(definition, context)
    info = _info(requests, context)
    sent = 0
    for data in definition.response_data:
        await asyncio.sleep(definition.response_delay_ms / 1000)
        yield service_pb2.ConformancePayload(data=data, request_info=None if sent else info)
        sent += 1
    if definition.HasField("error"):
        raise _error(definition.error, None if sent else info)


async def _turns(first: Message, requests: AsyncIterator[Message], context: Context) -> AsyncIterator[Message]:
    definition = first.response_definition
    _add_metadata(definition, context)
    request: Message = first
    sent = 0
    while request is not None and sent < len(definition.response_data):
        info = _info([request], context) if not sent else service_pb2.ConformancePayload.RequestInfo()
        if sent:
            info.requests.add().Pack(request)
        await asyncio.sleep(definition.response_delay_ms / 1000)
        yield service_pb2.ConformancePayload(data=definition.response_data[sent], request_info=info)
        sent += 1
        request = await anext(requests, None)
    if definition.HasField("error"):
        raise _error(definition.error, None if sent else _info([first], context))
    while request is not None:  # nothing is left to answer with
        request = await anext(requests, None)


def _add_metadata(definition: Message, context: Context) -> None:
    for into, given in (
        (context.metadata.headers, definition.response_headers),
        (context.metadata.trailers, definition.response_trailers),
    ):
        into.extend((header.name.lower(), value) for header in given for value in header.value)


def _info(requests: Sequence[Message], context: Context) -> Message:
    """Return what was seen of a call."""
    info = service_pb2.ConformancePayload.RequestInfo()
    by_name: dict[bytes, list[str]] = {}
    for header, value in context.headers:
        by_name.setdefault(header, []).append(value.decode("latin-1"))
    for header, values in by_name.items():
        info.request_headers.add(name=header.decode(), value=values)
    if context.timeout_s is not None:
        info.timeout_ms = round(context.timeout_s * 1000)
    for request in requests:
        info.requests.add().Pack(request)
    for name, parameter in context.query:
        info.connect_get_info.query_params.add(name=name, value=[parameter])
    return info


def _error(asked: Message, info: Message | None) -> RpcError:
    details = [Detail(each.type_url.rpartition("/")[2], each.value) for each in asked.details]
    if info is not None:
        details.append(Detail(info.DESCRIPTOR.full_name, info.SerializeToString()))
    return RpcError(Code(asked.code), asked.message, details)
