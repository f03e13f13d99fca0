"""gRPC, which ends a call in HTTP trailers, and gRPC-Web, which ends it in the body's last frame.

By "gRPC over HTTP2" and, for the web, PROTOCOL-WEB.
"""

import base64
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

from server.errors import InvalidArgument
from server.replies import Fields, Reply
from server.rpc import envelope
from server.rpc.status import TYPE_URL, RpcError
from server.rpc.wire import NOTHING, End, Metadata, Wire

_TIMEOUT_DIGITS: Final = 8
_UNIT_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TRAILERS: Final = 0x80
"""The flag of gRPC-Web's last frame."""
_OK: Final[Fields] = ((b"grpc-status", b"0"),)
_PLAIN: Final = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What a status message may hold beside letters and digits without being percent-encoded: all of ASCII but the %."""


class Grpc(Wire):
    """Native gRPC: for HTTP/2, whose trailers it needs."""

    timeout_header = b"grpc-timeout"
    encoding_header = b"grpc-encoding"
    accept_header = b"grpc-accept-encoding"
    needs_http2 = True

    def timeout_s(self, value: bytes) -> float:
        """Return the seconds of at most eight digits and a unit. Raises InvalidArgument."""
        digits, unit = value[:-1], value[-1:]
        if not digits.isdigit() or len(digits) > _TIMEOUT_DIGITS or unit not in _UNIT_S:
            words = f"grpc-timeout: expected at most {_TIMEOUT_DIGITS} digits and one of H, M, S, m, u, n"
            raise InvalidArgument(words)
        return int(digits) * _UNIT_S[unit]

    def end(self, error: RpcError | None, metadata: Metadata) -> End:
        """Return the status as trailers."""
        if error is None and metadata is NOTHING:
            return _END_OK
        return End(b"", _status(error, metadata))


class GrpcWeb(Grpc):
    """gRPC for browsers and proxies: the trailers are the body's last frame."""

    needs_http2 = False

    def end(self, error: RpcError | None, metadata: Metadata) -> End:
        """Return the status as a frame."""
        if error is None and metadata is NOTHING:
            return _WEB_OK
        return End(_frame(_status(error, metadata)))


class GrpcWebText(GrpcWeb):
    """The same in base64, for browsers whose requests can't read bytes as they come."""

    def __init__(self, media_type: str, codec: str) -> None:
        """Speak `codec` in base64."""
        super().__init__(media_type, codec)
        self._web = GrpcWeb(media_type, codec)

    def unwrap(self, body: bytes, encoding: str, max_bytes: int) -> bytes:
        """Return the one message. Raises RequestError."""
        return super().unwrap(from_text(body), encoding, max_bytes)

    async def raw(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield what a request's base64 holds, wherever it is cut. Raises InvalidArgument."""
        rest = b""
        async for chunk in chunks:
            text = rest + chunk
            whole = len(text) - len(text) % 4
            rest = text[whole:]
            yield from_text(text[:whole])
        if rest:
            raise InvalidArgument("body: expected base64 in groups of four")

    def wrap(self, message: bytes, metadata: Metadata = NOTHING, *, gzip: bool = False) -> Reply:
        """Return the answer to a unary call, in one piece."""
        reply = self._web.wrap(message, metadata, gzip=gzip)
        return reply._replace(body=base64.b64encode(reply.body))

    def refuse(self, error: RpcError, metadata: Metadata = NOTHING) -> Reply:
        """Return the failure."""
        reply = self._web.refuse(error, metadata)
        return reply._replace(body=base64.b64encode(reply.body))

    def message(self, message: bytes, *, gzip: bool) -> bytes:
        """Return one message of a stream, padded on its own."""
        return base64.b64encode(super().message(message, gzip=gzip))

    def end(self, error: RpcError | None, metadata: Metadata) -> End:
        """Return the status as a frame, padded on its own."""
        return End(base64.b64encode(super().end(error, metadata).body))


def from_text(body: bytes) -> bytes:
    """Return what several pieces of base64, each padded on its own, hold. Raises InvalidArgument."""
    if len(body) % 4:
        raise InvalidArgument("body: expected base64 in groups of four")
    pieces = []
    start = 0
    while start < len(body):
        padding = body.find(b"=", start)
        end = len(body) if padding < 0 else padding - padding % 4 + 4
        try:
            pieces.append(base64.b64decode(body[start:end], validate=True))
        except ValueError:
            raise InvalidArgument("body: expected base64") from None
        start = end
    return b"".join(pieces)


def _frame(trailers: Fields) -> bytes:
    return envelope.packed(b"".join(name + b": " + value + b"\r\n" for name, value in trailers), _TRAILERS)


_END_OK: Final = End(b"", _OK)
_WEB_OK: Final = End(_frame(_OK))
"""How a call ends that went well, on either wire."""


def _status(error: RpcError | None, metadata: Metadata) -> Fields:
    """Return how a call ended, and its trailing metadata."""
    pairs = [*metadata.trailers, *(error.headers if error is not None else ())]
    trailing = tuple((name.encode(), value.encode("latin-1")) for name, value in pairs)
    if error is None:
        return (*_OK, *trailing)
    fields = [(b"grpc-status", b"%d" % error.code), (b"grpc-message", quote(error.message, safe=_PLAIN).encode())]
    if error.details:
        details = base64.b64encode(_details(error)).rstrip(b"=")
        fields.append((b"grpc-status-details-bin", details))
    return (*fields, *trailing)


def _details(error: RpcError) -> bytes:
    """Return the google.rpc.Status message of a failure."""
    from server.rpc.proto import status_pb2

    status = status_pb2.Status(code=int(error.code), message=error.message)
    for each in error.details:
        status.details.add(type_url=TYPE_URL + each.type_name, value=each.value)
    return status.SerializeToString()
