"""Checks of HTTP/1.1 message framing in request heads (RFC 9112, section 6)."""

from typing import Final

from server.errors import InvalidArgument, RequestError, Unimplemented
from server.http.message import Headers

_VERSIONS: Final = frozenset({"1.0", "1.1"})


def framing_error(method: bytes, version: str, headers: Headers) -> RequestError | None:
    """Return the error of a request that cannot be read safely, or None.

    Another server might find a different end of the message, or a different host.
    """
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            if version == "1.0":
                return InvalidArgument("transfer-encoding: expected none on HTTP/1.0", field="transfer-encoding")
            if value.strip().lower() != b"chunked":
                return Unimplemented("transfer-encoding: expected chunked alone", field="transfer-encoding")
    if hosts != 1 and (hosts or version != "1.0"):
        return InvalidArgument(f"host: expected one header; got {hosts}", field="host")
    if version not in _VERSIONS:
        return InvalidArgument("request: expected HTTP/1.0 or HTTP/1.1")
    if method == b"CONNECT":
        return Unimplemented("request: CONNECT is not implemented: this server is not a proxy")
    return None


def without_upgrade(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """Return the bytes of a head without its `Upgrade` header.

    A server may ignore that header (RFC 9110, section 7.8).
    """
    fields = [b"%b: %b\r\n" % (name, value) for name, value in headers if name != b"upgrade"]
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, url, version.encode(), b"".join(fields))


def size(url: bytes, headers: Headers) -> int:
    """Return the approximate size of a head in bytes."""
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)
