"""Selection of a call's RPC protocol, by its headers or the query of a GET."""

import base64
import binascii
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Scope

from server.codecs.compression import ENCODINGS
from server.errors import InvalidArgument, MethodNotAllowed, RequestError, Unimplemented, UnsupportedMediaType
from server.http.caching import NO_STORE
from server.http.message import Headers, HttpResponse
from server.http.request_context import note
from server.models.quoting import quoted
from server.rpc.method import Method
from server.rpc.protocols.base import RpcProtocol
from server.rpc.protocols.connect import VERSION_HEADER, ConnectStream, ConnectUnary
from server.rpc.protocols.grpc import Grpc, GrpcWeb, GrpcWebText
from server.rpc.protocols.message_codec import JSON, PROTO
from server.rpc.protocols.status import rpc_error

CONNECT: Final[Mapping[str, RpcProtocol]] = {
    f"application/{codec}": ConnectUnary(f"application/{codec}", codec) for codec in (PROTO, JSON)
}
"""Protocols for unary calls only, by content type."""
CONNECT_STREAM: Final[Mapping[str, RpcProtocol]] = {
    f"application/connect+{codec}": ConnectStream(f"application/connect+{codec}", codec) for codec in (PROTO, JSON)
}
"""Protocols for streams only, by content type."""
GRPC_WEB: Final[Mapping[str, RpcProtocol]] = {
    f"application/{protocol}{suffix}": kind(f"application/{protocol}{suffix}", codec)
    for protocol, kind in (("grpc-web", GrpcWeb), ("grpc-web-text", GrpcWebText))
    for suffix, codec in (("", PROTO), ("+proto", PROTO), ("+json", JSON))
}
"""Protocols for unary calls and streams, by content type."""
GRPC: Final[Mapping[str, RpcProtocol]] = {
    f"application/grpc{suffix}": Grpc(f"application/grpc{suffix}", codec)
    for suffix, codec in (("", PROTO), ("+proto", PROTO), ("+json", JSON))
}
"""Protocols for unary calls and streams that need HTTP/2, by content type."""


class ConnectGetRequest(msgspec.Struct, frozen=True):
    """A call by GET, decoded from its query."""

    protocol: RpcProtocol
    message: bytes
    encoding: str
    parameters: list[tuple[str, str]]


def negotiate(method: Method, scope: Scope) -> RpcProtocol:
    """Return the protocol of a POST. Raises MethodNotAllowed, UnsupportedMediaType."""
    if scope["method"] != "POST":
        allowed = "POST" if method.has_side_effects else "GET, POST"
        message = f"{scope['path'][:128]} takes {allowed}, not {scope['method']}"
        raise MethodNotAllowed(message, headers={"allow": allowed})
    media_type = content_type(scope)
    protocols = supported_protocols(method, scope)
    if media_type not in protocols:
        accepted = ", ".join(protocols)
        message = f"content-type: expected one of {accepted}; got {quoted(media_type)}"
        raise UnsupportedMediaType(message, headers={"accept-post": accepted})
    return protocols[media_type]


def plain_error_response(error: RequestError) -> HttpResponse:
    """Return an HTTP error response in plain text, for a client whose protocol is unknown.

    Every client maps the HTTP status to an RPC code (Connect, "HTTP to Error Code").
    """
    note(error)
    fields = tuple((name.encode(), value.encode()) for name, value in error.headers.items())
    return HttpResponse(error.message.encode() + b"\n", "text/plain; charset=utf-8", (*fields, NO_STORE), error.status)


def error_response(error: RequestError, headers: Headers) -> HttpResponse:
    """Return the response to a call rejected for its headers.

    The content type of the request selects the error format.
    """
    media_type = (
        dict(reversed([*headers])).get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    )
    protocol = {**CONNECT, **CONNECT_STREAM, **GRPC_WEB, **GRPC}.get(media_type)
    return plain_error_response(error) if protocol is None else protocol.error_response(rpc_error(error))


def supported_protocols(method: Method, scope: Scope) -> dict[str, RpcProtocol]:
    """Return the protocols that a method supports on a connection, by content type."""
    grpc = {} if scope["http_version"].startswith("1") else GRPC
    return {**(CONNECT_STREAM if method.stream else CONNECT), **GRPC_WEB, **grpc}


def content_type(scope: Scope) -> str:
    """Return a request's content type without its parameters; empty if it has none."""
    media_type = header(scope, b"content-type") or b""
    return media_type.decode("latin-1").partition(";")[0].strip().lower()


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the value of the first header with this name; None if there is none."""
    for each, value in scope["headers"]:
        if each == name:
            return bytes(value)
    return None


def accepts_gzip(protocol: RpcProtocol, scope: Scope) -> bool:
    """Return True if the client accepts gzip for response messages."""
    accepted = header(scope, protocol.accept_header) or b""
    return any(each.partition(b";")[0].strip() == b"gzip" for each in accepted.split(b","))


def check_version(protocol: RpcProtocol, scope: Scope) -> None:
    """Raise InvalidArgument for a version of the Connect protocol other than 1."""
    version = header(scope, VERSION_HEADER) if isinstance(protocol, ConnectUnary | ConnectStream) else None
    if version not in {None, b"1"}:
        raise InvalidArgument(f"connect-protocol-version: expected 1; got {quoted((version or b'').decode('latin-1'))}")


def parse_get_request(scope: Scope) -> ConnectGetRequest:
    """Return a call by GET (Connect, "Unary-Get-Request"). Raises RequestError for an invalid query."""
    parameters = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    parameters_by_name = dict(reversed(parameters))
    codec = parameters_by_name.get("encoding", "")
    protocol = CONNECT.get(f"application/{codec}")
    if protocol is None:
        raise UnsupportedMediaType(f"encoding: expected {PROTO} or {JSON}; got {quoted(codec)}")
    if parameters_by_name.get("connect", "v1") != "v1":
        raise InvalidArgument(f"connect: expected v1; got {quoted(parameters_by_name['connect'])}")
    if "message" not in parameters_by_name:
        raise InvalidArgument("message: it is missing")
    message = parameters_by_name["message"].encode("latin-1")  # the raw bytes of the percent-encoded value
    if parameters_by_name.get("base64") == "1":
        message = _from_base64(parameters_by_name["message"])
    encoding = parameters_by_name.get("compression") or "identity"
    if encoding not in ENCODINGS:
        raise Unimplemented(f"compression: expected {' or '.join(ENCODINGS)}; got {quoted(encoding)}")
    return ConnectGetRequest(protocol, message, encoding, parameters)


def _from_base64(text: str) -> bytes:
    """Decode URL-safe base64, padded or not. Raises InvalidArgument."""
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument("message: expected URL-safe base64") from None
