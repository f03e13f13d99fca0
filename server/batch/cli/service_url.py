"""Service URL and request headers: parse and check them."""

import http.client
import re
import urllib.parse
from typing import Final

TIMEOUT_S: Final = 120.0
"""Maximum seconds without a byte sent or received."""
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN: Final = frozenset(
    {"accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect"}
    | {"transfer-encoding"}
)


class Address:
    """Address of a service."""

    def __init__(self, text: str) -> None:
        """Parse a URL. Raises ValueError; the message repeats no part of the URL that may be secret."""
        url = urllib.parse.urlsplit(text)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError("expected http:// or https:// and a host")
        if url.username is not None or url.password is not None:
            raise ValueError("expected no user name or password in the URL; send credentials with --header")
        if url.query or url.fragment or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("expected a URL without ? and #, in ASCII")
        try:
            self._port = url.port
        except ValueError:
            raise ValueError("expected a port from 0 to 65535") from None
        self._kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._host = url.hostname
        self.host = url.netloc
        self.path = url.path.rstrip("/")
        self.text = f"{url.scheme}://{url.netloc}{self.path}"

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection that is not open yet; HTTPS uses the system's trusted certificates."""
        return self._kind(self._host, self._port, timeout=TIMEOUT_S)


def header(text: str) -> tuple[str, str]:
    """Return a header's name and value. Raises ValueError; the message does not repeat the value."""
    name, colon, value = text.partition(":")
    name, value = name.strip().lower(), value.strip()
    if not colon or not _NAME.fullmatch(name):
        raise ValueError('expected "name: value"')
    if not value.isprintable() or not value.isascii():
        raise ValueError(f"{name}: expected a value of printable ASCII")
    if name in _OWN:
        raise ValueError(f"{name}: this header is set by the program and can't be chosen")
    return name, value
