"""Connect: unary calls as plain HTTP, streams in envelopes with their end as a last message in JSON.

By the Connect protocol's specification, "Unary-RPC" and "Streaming-RPC".
"""

import base64
from typing import Any, Final

import msgspec

from server.compression import compressed
from server.errors import InvalidArgument
from server.replies import JSON, Fields, Reply
from server.rpc import envelope
from server.rpc.status import HTTP_STATUS, RpcError
from server.rpc.wire import COMPRESS_BYTES, NOTHING, End, Metadata, Wire

VERSION_HEADER: Final = b"connect-protocol-version"
_END_STREAM: Final = 2
"""The flag of the last message of a stream."""
_TIMEOUT_DIGITS: Final = 10


class Connect(Wire):
    """What unary calls and streams share."""

    timeout_header = b"connect-timeout-ms"

    def timeout_s(self, value: bytes) -> float:
        """Return the seconds of at most ten digits of milliseconds. Raises InvalidArgument."""
        if not value.isdigit() or len(value) > _TIMEOUT_DIGITS:
            words = f"connect-timeout-ms: expected a whole number of at most {_TIMEOUT_DIGITS} digits"
            raise InvalidArgument(words)
        return int(value) / 1000


class ConnectUnary(Connect):
    """A call of one message each way: HTTP's own body, status and headers."""

    encoding_header = b"content-encoding"
    accept_header = b"accept-encoding"

    def __init__(self, media_type: str, codec: str) -> None:
        """Speak `codec`, without anything around it."""
        super().__init__(media_type, codec)
        self.is_bare = media_type == JSON

    def unwrap(self, body: bytes, encoding: str, max_bytes: int) -> bytes:
        """Return the body, unpacked. Raises RequestError."""
        message = body if encoding == "identity" else envelope.unpacked(body, encoding, max_bytes)
        if len(message) > max_bytes:
            raise envelope.too_large(max_bytes)
        return message

    def wrap(self, message: bytes, metadata: Metadata = NOTHING, *, gzip: bool = False) -> Reply:
        """Return the message as the body."""
        gzip = gzip and len(message) >= COMPRESS_BYTES
        if metadata is NOTHING and not gzip:
            return Reply(message, self.media_type)
        body = compressed(message) if gzip else message
        return Reply(body, self.media_type, self._fields(metadata, gzip=gzip))

    def refuse(self, error: RpcError, metadata: Metadata = NOTHING) -> Reply:
        """Return the error in JSON, whatever the codec, with the status of its code."""
        fields = (*self._fields(metadata, gzip=False), *_fields(error))
        return Reply(msgspec.json.encode(_said(error)), JSON, fields, HTTP_STATUS[error.code])

    def end(self, error: RpcError | None, metadata: Metadata) -> End:
        """Return nothing: a unary answer has no end of its own."""
        raise NotImplementedError  # neither wrap() nor refuse() asks for it here

    def _fields(self, metadata: Metadata, *, gzip: bool) -> Fields:
        trailers = tuple((b"trailer-" + name.encode(), value.encode("latin-1")) for name, value in metadata.trailers)
        return (*self.head(metadata, gzip=gzip), *trailers)


class ConnectStream(Connect):
    """A call of several messages: the status is always 200, the last message says how it ended."""

    encoding_header = b"connect-content-encoding"
    accept_header = b"connect-accept-encoding"

    def end(self, error: RpcError | None, metadata: Metadata) -> End:
        """Return the EndStreamResponse message."""
        said: dict[str, Any] = {}
        if error is not None:
            said["error"] = _said(error)
        pairs = [*metadata.trailers, *(error.headers if error is not None else ())]
        if pairs:
            trailing: dict[str, list[str]] = {}
            for name, value in pairs:
                trailing.setdefault(name, []).append(value)
            said["metadata"] = trailing
        return End(envelope.packed(msgspec.json.encode(said), _END_STREAM))


def _fields(error: RpcError) -> Fields:
    return tuple((name.encode(), value.encode("latin-1")) for name, value in error.headers)


def _said(error: RpcError) -> dict[str, Any]:
    """Return the JSON of an error: code, message, and its details by their types' names, in unpadded base64."""
    said: dict[str, Any] = {"code": error.code.label}
    if error.message:
        said["message"] = error.message
    if error.details:
        said["details"] = [
            {"type": each.type_name, "value": base64.b64encode(each.value).decode().rstrip("=")}
            for each in error.details
        ]
    return said
