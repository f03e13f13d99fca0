"""Bytes that are no HTTP/1.1: refused in the error envelope too, before there is a request to route."""

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from server.errors import InvalidArgument
from server.requests import JSON

_REFUSAL = InvalidArgument("request: expected HTTP/1.1: a request line, headers and a body as they state it").envelope()


class Protocol(HttpToolsProtocol):
    """uvicorn's own protocol, but for the body of its one answer that no application sees."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 # uvicorn's text, which the envelope replaces
        """Answer 400 in the error envelope and close."""
        headers = [(b"content-type", JSON.encode()), (b"content-length", str(len(_REFUSAL)).encode())]
        lines = [name + b": " + value for name, value in [*headers, (b"connection", b"close")]]
        self.transport.write(STATUS_LINE[400] + b"\r\n".join(lines) + b"\r\n\r\n" + _REFUSAL)
        self.transport.close()
