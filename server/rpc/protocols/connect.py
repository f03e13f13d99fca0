"""Connect protocol: unary calls as plain HTTP, streams in envelopes with a final JSON message.

Specification: the Connect protocol, "Unary-RPC" and "Streaming-RPC".
"""

import base64
from typing import Any, Final

import msgspec

from server.codecs.compression import compress
from server.http.header_numbers import milliseconds
from server.http.message import JSON, Fields, HttpResponse
from server.rpc.protocols import envelope
from server.rpc.protocols.base import COMPRESS_BYTES, NO_METADATA, End, Metadata, RpcProtocol
from server.rpc.protocols.status import HTTP_STATUS, RpcError

VERSION_HEADER: Final = b"connect-protocol-version"
_END_STREAM: Final = 2
"""Envelope flag of the last message of a stream."""


class Connect(RpcProtocol):
    """Common part of unary and streaming Connect."""

    timeout_header = b"connect-timeout-ms"

    def timeout_s(self, value: bytes) -> float:
        """Parse at most ten digits of milliseconds into seconds. Raises InvalidArgument."""
        return milliseconds(self.timeout_header.decode(), value)


class ConnectUnary(Connect):
    """Connect unary protocol, with plain HTTP body, status and headers."""

    encoding_header = b"content-encoding"
    accept_header = b"accept-encoding"

    def __init__(self, media_type: str, codec: str) -> None:
        """Use `codec`, without an envelope."""
        super().__init__(media_type, codec)
        self.is_bare = media_type == JSON

    def unwrap(self, body: bytes, encoding: str, max_bytes: int) -> bytes:
        """Return the decompressed body. Raises RequestError."""
        message = body if encoding == "identity" else envelope.decompress_message(body, encoding, max_bytes)
        if len(message) > max_bytes:
            raise envelope.too_large(max_bytes)
        return message

    def wrap(self, message: bytes, metadata: Metadata = NO_METADATA, *, gzip: bool = False) -> HttpResponse:
        """Return a response with the message as its body."""
        gzip = gzip and len(message) >= COMPRESS_BYTES
        if metadata is NO_METADATA and not gzip:
            return HttpResponse(message, self.media_type)
        body = compress(message) if gzip else message
        return HttpResponse(body, self.media_type, self._fields(metadata, gzip=gzip))

    def error_response(self, error: RpcError, metadata: Metadata = NO_METADATA) -> HttpResponse:
        """Return the error as JSON for either codec, with the HTTP status of its code."""
        fields = (*self._fields(metadata, gzip=False), *_fields(error))
        return HttpResponse(msgspec.json.encode(_error_members(error)), JSON, fields, HTTP_STATUS[error.code])

    def end(self, error: RpcError | None, metadata: Metadata) -> End:
        """Raise NotImplementedError: a unary response has no end message."""
        raise NotImplementedError  # the methods of this class never call it

    def _fields(self, metadata: Metadata, *, gzip: bool) -> Fields:
        trailers = tuple((b"trailer-" + name.encode(), value.encode("latin-1")) for name, value in metadata.trailers)
        return (*self.head(metadata, gzip=gzip), *trailers)


class ConnectStream(Connect):
    """Connect streaming protocol: the status is always 200, the last message states the result."""

    encoding_header = b"connect-content-encoding"
    accept_header = b"connect-accept-encoding"

    def end(self, error: RpcError | None, metadata: Metadata) -> End:
        """Return the EndStreamResponse message."""
        members: dict[str, Any] = {}
        if error is not None:
            members["error"] = _error_members(error)
        pairs = [*metadata.trailers, *(error.headers if error is not None else ())]
        if pairs:
            trailing: dict[str, list[str]] = {}
            for name, value in pairs:
                trailing.setdefault(name, []).append(value)
            members["metadata"] = trailing
        return End(envelope.pack(msgspec.json.encode(members), _END_STREAM))


def _fields(error: RpcError) -> Fields:
    return tuple((name.encode(), value.encode("latin-1")) for name, value in error.headers)


def _error_members(error: RpcError) -> dict[str, Any]:
    """Return an error as JSON: code, message and details.

    Each detail has its message type name and its value in unpadded base64.
    """
    members: dict[str, Any] = {"code": error.code.label}
    if error.message:
        members["message"] = error.message
    if error.details:
        members["details"] = [
            {"type": each.type_name, "value": base64.b64encode(each.value).decode().rstrip("=")}
            for each in error.details
        ]
    return members
