"""gRPC, with status in HTTP trailers, and gRPC-Web, with status in the body's last frame.

Specifications: "gRPC over HTTP2" and, for gRPC-Web, PROTOCOL-WEB.
"""

import base64
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

from server.errors import InvalidArgument
from server.http.message import Fields, HttpResponse
from server.rpc.protocols import envelope
from server.rpc.protocols.base import NO_METADATA, End, Metadata, RpcProtocol
from server.rpc.protocols.status import TYPE_URL, RpcError

_TIMEOUT_DIGITS: Final = 8
_UNIT_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MAX_PIECES: Final = 16_384
"""Maximum number of separately padded base64 pieces decoded together; a message has one or two."""
_TRAILERS: Final = 0x80
"""Flag of the last frame in gRPC-Web."""
_OK: Final[Fields] = ((b"grpc-status", b"0"),)
_UNESCAPED: Final = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Characters of a status message that need no percent-encoding, besides letters and digits.

All of printable ASCII except %.
"""


class Grpc(RpcProtocol):
    """gRPC over HTTP/2, with HTTP trailers."""

    timeout_header = b"grpc-timeout"
    encoding_header = b"grpc-encoding"
    accept_header = b"grpc-accept-encoding"
    needs_http2 = True

    def timeout_s(self, value: bytes) -> float:
        """Parse at most eight digits and a unit into seconds. Raises InvalidArgument."""
        digits, unit = value[:-1], value[-1:]
        if not digits.isdigit() or len(digits) > _TIMEOUT_DIGITS or unit not in _UNIT_S:
            message = f"grpc-timeout: expected at most {_TIMEOUT_DIGITS} digits and one of H, M, S, m, u, n"
            raise InvalidArgument(message)
        return int(digits) * _UNIT_S[unit]

    def end(self, error: RpcError | None, metadata: Metadata) -> End:
        """Return the status as HTTP trailers."""
        if error is None and metadata is NO_METADATA:
            return _END_OK
        return End(b"", _status(error, metadata))


class GrpcWeb(Grpc):
    """gRPC-Web, for browsers and proxies; the last frame of the body holds the trailers."""

    needs_http2 = False

    def end(self, error: RpcError | None, metadata: Metadata) -> End:
        """Return the status as a frame."""
        if error is None and metadata is NO_METADATA:
            return _WEB_OK
        return End(_frame(_status(error, metadata)))


class GrpcWebText(GrpcWeb):
    """gRPC-Web in base64, for browsers that cannot read a binary response as a stream."""

    def __init__(self, media_type: str, codec: str) -> None:
        """Use `codec`, in base64."""
        super().__init__(media_type, codec)
        self._web = GrpcWeb(media_type, codec)

    def unwrap(self, body: bytes, encoding: str, max_bytes: int) -> bytes:
        """Return the one message. Raises RequestError."""
        return super().unwrap(from_text(body), encoding, max_bytes)

    async def raw(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the decoded base64 of a request; chunks may split it anywhere. Raises InvalidArgument."""
        rest = b""
        async for chunk in chunks:
            text = rest + chunk
            complete = len(text) - len(text) % 4
            rest = text[complete:]
            yield from_text(text[:complete])
        if rest:
            raise InvalidArgument("body: expected base64 in groups of four")

    def wrap(self, message: bytes, metadata: Metadata = NO_METADATA, *, gzip: bool = False) -> HttpResponse:
        """Return the response to a unary call, as one piece of base64."""
        response = self._web.wrap(message, metadata, gzip=gzip)
        return response._replace(body=base64.b64encode(response.body))

    def error_response(self, error: RpcError, metadata: Metadata = NO_METADATA) -> HttpResponse:
        """Return the error response to a unary call, in base64."""
        response = self._web.error_response(error, metadata)
        return response._replace(body=base64.b64encode(response.body))

    def message(self, message: bytes, *, gzip: bool) -> bytes:
        """Return one message of a stream, padded separately."""
        return base64.b64encode(super().message(message, gzip=gzip))

    def end(self, error: RpcError | None, metadata: Metadata) -> End:
        """Return the status as a frame, padded separately."""
        return End(base64.b64encode(super().end(error, metadata).body))


def from_text(body: bytes) -> bytes:
    """Decode separately padded pieces of base64. Raises InvalidArgument."""
    if len(body) % 4:
        raise InvalidArgument("body: expected base64 in groups of four")
    pieces: list[bytes] = []
    start = 0
    while start < len(body):
        if len(pieces) == _MAX_PIECES:
            raise InvalidArgument(f"body: expected at most {_MAX_PIECES} padded pieces of base64")
        padding = body.find(b"=", start)
        end = len(body) if padding < 0 else padding - padding % 4 + 4
        try:
            pieces.append(base64.b64decode(body[start:end], validate=True))
        except ValueError:
            raise InvalidArgument("body: expected base64") from None
        start = end
    return b"".join(pieces)


def _frame(trailers: Fields) -> bytes:
    return envelope.pack(b"".join(name + b": " + value + b"\r\n" for name, value in trailers), _TRAILERS)


_END_OK: Final = End(b"", _OK)
_WEB_OK: Final = End(_frame(_OK))
"""The end of a successful call, in gRPC and in gRPC-Web."""


def _status(error: RpcError | None, metadata: Metadata) -> Fields:
    """Return the status fields of a call and its trailing metadata."""
    pairs = [*metadata.trailers, *(error.headers if error is not None else ())]
    trailing = tuple((name.encode(), value.encode("latin-1")) for name, value in pairs)
    if error is None:
        return (*_OK, *trailing)
    fields = [(b"grpc-status", b"%d" % error.code), (b"grpc-message", quote(error.message, safe=_UNESCAPED).encode())]
    if error.details:
        details = base64.b64encode(_details(error)).rstrip(b"=")
        fields.append((b"grpc-status-details-bin", details))
    return (*fields, *trailing)


def _details(error: RpcError) -> bytes:
    """Return the serialized google.rpc.Status message of an error."""
    from server.rpc.proto import status_pb2

    status = status_pb2.Status(code=int(error.code), message=error.message)
    for each in error.details:
        status.details.add(type_url=TYPE_URL + each.type_name, value=each.value)
    return status.SerializeToString()
