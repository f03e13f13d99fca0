"""Base class of the RPC protocols: requests to messages, messages and errors to responses."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar, Final, NamedTuple

import msgspec

from server.codecs.compression import ENCODINGS, compress
from server.errors import InvalidArgument, Unimplemented
from server.http.message import Fields, HttpResponse
from server.models.quoting import quoted
from server.rpc.protocols import envelope
from server.rpc.protocols.status import RpcError

COMPRESS_BYTES: Final = 1024
"""Minimum message size in bytes for compression; a smaller message fits in one packet anyway."""

Pairs = Sequence[tuple[str, str]]
"""Names, in lower case, and values as sent; values of -bin names are base64."""


class Metadata(msgspec.Struct):
    """Metadata that a handler adds to its response."""

    headers: list[tuple[str, str]] = []
    """Sent before the first message."""
    trailers: list[tuple[str, str]] = []
    """Sent after the last message."""


NO_METADATA: Final = Metadata()
"""Empty metadata. Do not modify."""


class End(NamedTuple):
    """The end of a response stream."""

    body: bytes
    trailers: Fields = ()
    """HTTP trailers, if the protocol uses them."""


class RpcProtocol(ABC):
    """One protocol with one codec.

    It is stateless and independent of message types; one instance serves all requests.
    """

    timeout_header: ClassVar[bytes]
    encoding_header: ClassVar[bytes]
    """Request header that states the compression of the request messages."""
    accept_header: ClassVar[bytes]
    """Request header that states the compressions accepted for response messages."""
    needs_http2: ClassVar[bool] = False
    is_bare: bool = False
    """True if a JSON message is the whole response body, as in REST."""

    def __init__(self, media_type: str, codec: str) -> None:
        """Use `codec` (proto or json), with content type `media_type` in both directions."""
        self.media_type = media_type
        self.codec = codec

    @abstractmethod
    def timeout_s(self, value: bytes) -> float:
        """Return the timeout in seconds from a deadline header. Raises InvalidArgument."""

    def encoding(self, value: bytes) -> str:
        """Return the compression that a request header states. Raises Unimplemented if unknown."""
        name = value.decode("latin-1").strip().lower() or "identity"
        if name not in ENCODINGS:
            message = f"{self.encoding_header.decode()}: expected {' or '.join(ENCODINGS)}; got {quoted(name)}"
            raise Unimplemented(message, headers={self.accept_header.decode(): ", ".join(ENCODINGS[1:])})
        return name

    def unwrap(self, body: bytes, encoding: str, max_bytes: int) -> bytes:
        """Return the one message in a request's whole body. Raises RequestError."""
        length = len(body) - envelope.HEAD.size
        if 0 <= length <= max_bytes and body.startswith(envelope.HEAD.pack(0, length)):
            return body[envelope.HEAD.size :]  # fast path: one uncompressed message
        inbound = envelope.Inbound(encoding, max_bytes)
        if len(body) < envelope.HEAD.size:
            raise one_message(0) if not body else InvalidArgument("envelope: it is cut off")
        flags, length = envelope.HEAD.unpack_from(body)
        inbound.check(flags, length)
        end = envelope.HEAD.size + length
        if end > len(body):
            raise InvalidArgument(f"envelope: expected {length} bytes; got {len(body) - end + length}")
        if end < len(body):
            raise one_message(2)
        return inbound.open(flags, body[envelope.HEAD.size :])

    def raw(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield a request's bytes, decoded to envelopes. Raises InvalidArgument."""
        return chunks

    def wrap(self, message: bytes, metadata: Metadata = NO_METADATA, *, gzip: bool = False) -> HttpResponse:
        """Return the response to a unary call; `gzip` allows compression of a large message."""
        gzip = gzip and len(message) >= COMPRESS_BYTES
        end = self.end(None, metadata)
        if metadata is NO_METADATA and not gzip:
            return HttpResponse(envelope.pack(message) + end.body, self.media_type, trailers=end.trailers)
        body = self.message(message, gzip=gzip) + end.body
        return HttpResponse(body, self.media_type, self.head(metadata, gzip=gzip), trailers=end.trailers)

    def error_response(self, error: RpcError, metadata: Metadata = NO_METADATA) -> HttpResponse:
        """Return the response to a unary call that failed."""
        end = self.end(error, metadata)
        return HttpResponse(end.body, self.media_type, self.head(metadata, gzip=False), trailers=end.trailers)

    def head(self, metadata: Metadata, *, gzip: bool) -> Fields:
        """Return the response headers besides the content type."""
        fields = [(name.encode(), value.encode("latin-1")) for name, value in metadata.headers]
        if gzip:
            fields.append((self.encoding_header, b"gzip"))
        return tuple(fields)

    def message(self, message: bytes, *, gzip: bool) -> bytes:
        """Return one response message in its envelope.

        It is compressed if `gzip` is set (the headers state this) and the message is large enough.
        """
        if gzip and len(message) >= COMPRESS_BYTES:
            return envelope.pack(compress(message), envelope.COMPRESSED)
        return envelope.pack(message)

    @abstractmethod
    def end(self, error: RpcError | None, metadata: Metadata) -> End:
        """Return the end of the stream: the status and the trailing metadata."""


def one_message(count: int) -> Unimplemented:
    """Return the error of a single-message call with `count` messages."""
    return Unimplemented(f"request: expected one message; got {'none' if not count else 'more'}")
