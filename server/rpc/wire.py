"""What every wire does: a request's message out of its bytes, and the answer's bytes out of a message or a failure."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar, Final, NamedTuple

import msgspec

from server.compression import ENCODINGS, compressed
from server.errors import InvalidArgument, Unimplemented
from server.replies import Fields, Reply
from server.rpc import envelope
from server.rpc.status import RpcError

COMPRESS_BYTES: Final = 1024
"""Smallest message worth compressing: below it a packet is a packet."""

Pairs = Sequence[tuple[str, str]]
"""Names, in lower case, and values, as they stand on the wire: those of names that end in -bin in base64."""


class Metadata(msgspec.Struct):
    """What a handler adds to its answer."""

    headers: list[tuple[str, str]] = []
    """Sent before the first message."""
    trailers: list[tuple[str, str]] = []
    """Sent after the last message."""


NOTHING: Final = Metadata()
"""No metadata: not to be added to."""


class End(NamedTuple):
    """How a stream of messages ends."""

    body: bytes
    trailers: Fields = ()
    """HTTP trailers, where the wire has them."""


class Wire(ABC):
    """One protocol with one codec. Knows no message and keeps nothing of a request: one serves them all."""

    timeout_header: ClassVar[bytes]
    encoding_header: ClassVar[bytes]
    """How the messages of a request are compressed."""
    accept_header: ClassVar[bytes]
    """How those of the answer may be."""
    needs_http2: ClassVar[bool] = False
    is_bare: bool = False
    """Whether a message in JSON is the whole answer, as REST's is."""

    def __init__(self, media_type: str, codec: str) -> None:
        """Speak `codec` (proto or json), stated as `media_type` in both directions."""
        self.media_type = media_type
        self.codec = codec

    @abstractmethod
    def timeout_s(self, value: bytes) -> float:
        """Return the seconds that a request's deadline header gives. Raises InvalidArgument."""

    def encoding(self, value: bytes) -> str:
        """Return how messages are compressed by a request's header. Raises Unimplemented for what isn't known."""
        name = value.decode("latin-1").strip().lower() or "identity"
        if name not in ENCODINGS:
            words = f"{self.encoding_header.decode()}: expected {' or '.join(ENCODINGS)}; got {name[:40]!r}"
            raise Unimplemented(words, headers={self.accept_header.decode(): ", ".join(ENCODINGS[1:])})
        return name

    def unwrap(self, body: bytes, encoding: str, max_bytes: int) -> bytes:
        """Return the one message in the whole body of a request. Raises RequestError."""
        length = len(body) - envelope.HEAD.size
        if 0 <= length <= max_bytes and body.startswith(envelope.HEAD.pack(0, length)):
            return body[envelope.HEAD.size :]  # alone and not compressed, as a small call's is
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
        """Yield the bytes that a request's envelopes are in. Raises InvalidArgument."""
        return chunks

    def wrap(self, message: bytes, metadata: Metadata = NOTHING, *, gzip: bool = False) -> Reply:
        """Return the answer to a unary call; compressed where that is `gzip` and worth it."""
        gzip = gzip and len(message) >= COMPRESS_BYTES
        end = self.end(None, metadata)
        if metadata is NOTHING and not gzip:
            return Reply(envelope.packed(message) + end.body, self.media_type, trailers=end.trailers)
        body = self.message(message, gzip=gzip) + end.body
        return Reply(body, self.media_type, self.head(metadata, gzip=gzip), trailers=end.trailers)

    def refuse(self, error: RpcError, metadata: Metadata = NOTHING) -> Reply:
        """Return the answer to a unary call that failed."""
        end = self.end(error, metadata)
        return Reply(end.body, self.media_type, self.head(metadata, gzip=False), trailers=end.trailers)

    def head(self, metadata: Metadata, *, gzip: bool) -> Fields:
        """Return the headers of an answer beside its type."""
        fields = [(name.encode(), value.encode("latin-1")) for name, value in metadata.headers]
        if gzip:
            fields.append((self.encoding_header, b"gzip"))
        return tuple(fields)

    def message(self, message: bytes, *, gzip: bool) -> bytes:
        """Return one message of an answer; compressed where that is worth it and the head said so."""
        if gzip and len(message) >= COMPRESS_BYTES:
            return envelope.packed(compressed(message), envelope.COMPRESSED)
        return envelope.packed(message)

    @abstractmethod
    def end(self, error: RpcError | None, metadata: Metadata) -> End:
        """Return what follows the last message: how the call ended, and the trailing metadata."""


def one_message(got: int) -> Unimplemented:
    """Return the failure of a call that takes one message and was given none, or several."""
    return Unimplemented(f"request: expected one message; got {'none' if not got else 'more'}")
