"""A request's head to the wire it speaks: by its method and content type, or, for a call by GET, by its query."""

import base64
import binascii
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Scope

from server.caching import NO_STORE
from server.compression import ENCODINGS
from server.errors import InvalidArgument, MethodNotAllowed, RequestError, Unimplemented, UnsupportedMediaType
from server.observation import note
from server.replies import Reply
from server.rpc.codecs import JSON, PROTO
from server.rpc.connect import VERSION_HEADER, ConnectStream, ConnectUnary
from server.rpc.grpc import Grpc, GrpcWeb, GrpcWebText
from server.rpc.methods import Method
from server.rpc.wire import Wire

CONNECT: Final[Mapping[str, Wire]] = {
    f"application/{codec}": ConnectUnary(f"application/{codec}", codec) for codec in (PROTO, JSON)
}
"""The wires that carry unary calls alone, by content type."""
CONNECT_STREAM: Final[Mapping[str, Wire]] = {
    f"application/connect+{codec}": ConnectStream(f"application/connect+{codec}", codec) for codec in (PROTO, JSON)
}
"""The wires that carry streams alone."""
GRPC_WEB: Final[Mapping[str, Wire]] = {
    f"application/{protocol}{suffix}": kind(f"application/{protocol}{suffix}", codec)
    for protocol, kind in (("grpc-web", GrpcWeb), ("grpc-web-text", GrpcWebText))
    for suffix, codec in (("", PROTO), ("+proto", PROTO), ("+json", JSON))
}
"""The wires that carry both."""
GRPC: Final[Mapping[str, Wire]] = {
    f"application/grpc{suffix}": Grpc(f"application/grpc{suffix}", codec)
    for suffix, codec in (("", PROTO), ("+proto", PROTO), ("+json", JSON))
}
"""The wires that carry both, and need HTTP/2."""


class Question(msgspec.Struct, frozen=True):
    """A call by GET, as its query has it."""

    wire: Wire
    message: bytes
    encoding: str
    parameters: list[tuple[str, str]]


def wire(method: Method, scope: Scope) -> Wire:
    """Return what a POST speaks. Raises MethodNotAllowed, UnsupportedMediaType."""
    if scope["method"] != "POST":
        allowed = "POST" if method.has_side_effects else "GET, POST"
        words = f"{scope['path'][:128]} takes {allowed}, not {scope['method']}"
        raise MethodNotAllowed(words, headers={"allow": allowed})
    stated = content_type(scope)
    known = wires(method, scope)
    if stated not in known:
        accepted = ", ".join(known)
        words = f"content-type: expected one of {accepted}; got {stated[:64]!r}"
        raise UnsupportedMediaType(words, headers={"accept-post": accepted})
    return known[stated]


def unspoken(error: RequestError) -> Reply:
    """Return what a caller is told of whom it isn't known which wire it reads: HTTP's own status, and plain words.

    Of these statuses every client makes a code by itself (Connect, "HTTP to Error Code").
    """
    note(error)
    fields = tuple((name.encode(), value.encode()) for name, value in error.headers.items())
    return Reply(error.message.encode() + b"\n", "text/plain; charset=utf-8", (*fields, NO_STORE), error.status)


def wires(method: Method, scope: Scope) -> dict[str, Wire]:
    """Return what a method may be called by on a connection, by content type."""
    native = {} if scope["http_version"].startswith("1") else GRPC
    return {**(CONNECT_STREAM if method.stream else CONNECT), **GRPC_WEB, **native}


def content_type(scope: Scope) -> str:
    """Return the content type of a request, without its parameters; empty where none is stated."""
    stated = header(scope, b"content-type") or b""
    return stated.decode("latin-1").partition(";")[0].strip().lower()


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first header of this name."""
    for each, value in scope["headers"]:
        if each == name:
            return bytes(value)
    return None


def takes_gzip(spoken: Wire, scope: Scope) -> bool:
    """Return whether the answer's messages may be compressed."""
    accepted = header(scope, spoken.accept_header) or b""
    return any(each.partition(b";")[0].strip() == b"gzip" for each in accepted.split(b","))


def check_version(spoken: Wire, scope: Scope) -> None:
    """Raise InvalidArgument for a version of Connect that isn't 1."""
    version = header(scope, VERSION_HEADER) if isinstance(spoken, ConnectUnary | ConnectStream) else None
    if version not in {None, b"1"}:
        raise InvalidArgument(f"connect-protocol-version: expected 1; got {(version or b'').decode('latin-1')[:40]!r}")


def question(scope: Scope) -> Question:
    """Return a call by GET (Connect, "Unary-Get-Request"). Raises RequestError for a query that is none."""
    parameters = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    given = dict(reversed(parameters))
    codec = given.get("encoding", "")
    spoken = CONNECT.get(f"application/{codec}")
    if spoken is None:
        raise UnsupportedMediaType(f"encoding: expected {PROTO} or {JSON}; got {codec[:40]!r}")
    if given.get("connect", "v1") != "v1":
        raise InvalidArgument(f"connect: expected v1; got {given['connect'][:40]!r}")
    if "message" not in given:
        raise InvalidArgument("message: it is missing")
    message = given["message"].encode("latin-1")  # its bytes, as they were percent-encoded
    if given.get("base64") == "1":
        message = _from_base64(given["message"])
    encoding = given.get("compression") or "identity"
    if encoding not in ENCODINGS:
        raise Unimplemented(f"compression: expected {' or '.join(ENCODINGS)}; got {encoding[:40]!r}")
    return Question(spoken, message, encoding, parameters)


def _from_base64(text: str) -> bytes:
    """Return what URL-safe base64 holds, padded or not. Raises InvalidArgument."""
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument("message: expected URL-safe base64") from None
