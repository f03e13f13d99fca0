"""The bytes that an HTTP/2 client sends."""

from typing import Any, Self

import zttp


class Http2Client:
    """Writes HTTP/2 connections with zttp's client."""

    def __init__(self) -> None:
        self._conn: Any = zttp.Connection(zttp.CLIENT, zttp.HTTP2)
        self._conn.initiate_connection()

    def send(self, path: str, body: bytes, *headers: tuple[str, str], ends: bool = True) -> Self:
        """Send a request; with `ends=False` leave its stream open."""
        fields = [(b"host", b"x"), *((name.encode(), value.encode()) for name, value in headers)]
        stream = self._conn.send_request(b"POST", path.encode(), b"2", fields)
        if body:
            stream.send_data(body)
        if ends:
            stream.end_message()
        return self

    def data(self) -> bytes:
        """Return the bytes written so far."""
        return bytes(self._conn.data_to_send())
