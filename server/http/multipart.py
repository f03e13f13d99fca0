"""Streaming reader for the one file of a multipart/form-data body (RFC 7578).

HTML forms and many HTTP clients send files in this format. The reader buffers at most the head of a part. It passes the
bytes of the file on like a request body. The content type of the part, or the suffix of its filename, states the media
type, as the request's own content type would.
"""

import re
from typing import Final, NamedTuple

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from server.codecs.tables.media_types import BY_MEDIA_TYPE, BY_SUFFIX, CSV, TAB_SEPARATED
from server.errors import InvalidArgument, PayloadTooLarge, UnsupportedMediaType
from server.http.request_body import UNSPECIFIED, body_chunk
from server.models.quoting import field_name, quoted

MEDIA_TYPE: Final = "multipart/form-data"
_PARAMETER: Final = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))')
_BOUNDARY_BYTES: Final = 70
"""Maximum length of a boundary (RFC 2046, section 5.1.1)."""
_HEAD_BYTES: Final = 16 * 1024
"""Maximum bytes before a part's content, including a preamble."""
_UNSPECIFIED: Final = UNSPECIFIED | {"application/octet-stream", "text/plain"}
"""Content types that clients send for a file of unknown type."""


_END: Final[Message] = {"type": "http.request", "body": b"", "more_body": False}


class Part(NamedTuple):
    """Headers of a part."""

    name: str
    filename: str | None
    """None for a form field that is not a file."""
    media_type: str

    def table_type(self) -> str:
        """Return the media type of the table: the stated one, else from the filename's suffix."""
        stem = (self.filename or "").lower().removesuffix(".gz").removesuffix(".zst")
        suffix = stem[stem.rfind(".") :] if "." in stem else ""
        if self.media_type not in BY_MEDIA_TYPE and suffix in BY_SUFFIX:
            form = BY_SUFFIX[suffix]
            return TAB_SEPARATED if form is CSV and suffix == ".tsv" else form.media_type
        return "" if self.media_type in _UNSPECIFIED else self.media_type


def boundary_of(headers: Headers) -> bytes | None:
    """Return the boundary of a form; None if the request has no form.

    Raises InvalidArgument for a form without a boundary, UnsupportedMediaType for a compressed form.
    """
    content_type = headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
        return None
    boundary = _parameters(content_type).get("boundary", "").rstrip()
    if not boundary or len(boundary) > _BOUNDARY_BYTES or not boundary.isascii():
        message = f"expected a boundary of at most {_BOUNDARY_BYTES} characters; got {quoted(boundary)}"
        raise InvalidArgument(f"content-type: {message}", field="content-type")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        message = f"expected none around a form; compress the file instead; got {quoted(encoding)}"
        raise UnsupportedMediaType(f"content-encoding: {message}", field="content-encoding")
    return boundary.encode()


def without_form(headers: Headers, media_type: str = "") -> Headers:
    """Return headers with the content type of a form's file instead of the form's."""
    retained = [(name, value) for name, value in headers.raw if name != b"content-type"]
    return Headers(raw=[*retained, (b"content-type", media_type.encode("latin-1", "replace"))])


class FormFile:
    """Content of the one file of a form, as a body for an ASGI application."""

    def __init__(self, receive: Receive, boundary: bytes) -> None:
        """Read the form from `receive`."""
        self._receive = receive
        self._delimiter = b"\r\n--" + boundary
        self._held = b"\r\n"  # a form may start with its first delimiter
        self._has_more = True
        self._is_open = False
        """Whether more of the file's content follows."""
        self._is_read = False
        """Whether the end of the body was returned."""

    async def open(self) -> Part:
        """Read up to the start of the file's content.

        Raises InvalidArgument for a form without a file, or with a field before it; Canceled if the client disconnects.
        """
        while (at := self._held.find(self._delimiter)) < 0:
            await self._head("its boundary")
        self._held = self._held[at + len(self._delimiter) :]
        part = await self._part()
        if part is None:
            raise InvalidArgument("form: expected one file; it has none", field="form")
        self._is_open = True
        return _check_file(part)

    async def receive(self) -> Message:
        """Return the next message: a chunk of the content, then the messages after the form.

        Raises InvalidArgument for a second part, and for a form that ends before its last boundary. After an error, the
        messages are those of the form.
        """
        if self._is_open:
            try:
                return await self._content()
            except BaseException:
                self._is_open = False
                raise
        if self._has_more:
            return await self._receive()
        if not self._is_read:  # the form has failed, and its body was read completely
            self._is_read = True
            return _END
        return await self._receive()

    async def _content(self) -> Message:
        """Return the next chunk of the content, or its end."""
        overlap = len(self._delimiter) - 1
        while (at := self._held.find(self._delimiter)) < 0 and len(self._held) <= overlap:
            await self._read("its last boundary")
        if at:
            stop = at if at > 0 else len(self._held) - overlap
            data, self._held = self._held[:stop], self._held[stop:]
            return {"type": "http.request", "body": data, "more_body": True}
        self._held = self._held[len(self._delimiter) :]
        await self._end()
        self._is_open, self._is_read = False, True
        return _END

    async def _end(self) -> None:
        """Read the rest of the form after the file; it must be the end.

        Raises InvalidArgument.
        """
        part = await self._part()
        if part is not None and part.filename is not None:
            raise InvalidArgument(f"form: expected one file; got another, {quoted(part.filename)}", field="form")
        if part is not None:
            _check_file(part)
        self._held = b""
        while self._has_more:  # an epilogue, which has no meaning
            await self._read("its end")
            self._held = b""

    async def _part(self) -> Part | None:
        """Return the headers of the part after a delimiter; None after the last delimiter."""
        while len(self._held) < len(b"--"):
            await self._read("its last boundary")
        if self._held.startswith(b"--"):
            return None
        while (at := self._held.find(b"\r\n\r\n")) < 0:
            await self._head("the end of a part's head")
        head, self._held = self._held[:at], self._held[at + 4 :]
        first, *rest = head.split(b"\r\n")
        if first.strip():
            raise InvalidArgument("form: expected a line end behind the boundary", field="form")
        lines = dict(map(_line, rest))
        disposition = _parameters(lines.get("content-disposition", ""))
        media_type = lines.get("content-type", "").partition(";")[0].strip().lower()
        encoding = lines.get("content-transfer-encoding", "binary").lower()
        if encoding not in {"binary", "8bit", "7bit"}:
            message = f"content-transfer-encoding: expected binary; got {quoted(encoding)}"
            raise InvalidArgument(f"form: {message}", field="form")
        filename = disposition.get("filename", disposition.get("filename*"))
        return Part(disposition.get("name", ""), filename, media_type)

    async def _head(self, expected: str) -> None:
        """Read more bytes outside the file's content. Raises PayloadTooLarge if they exceed the limit."""
        if len(self._held) > _HEAD_BYTES:
            raise PayloadTooLarge(f"form: expected {expected} within {_HEAD_BYTES} bytes", field="form")
        await self._read(expected)

    async def _read(self, expected: str) -> None:
        if not self._has_more:
            raise InvalidArgument(f"form: expected {expected}; the body ends before it", field="form")
        chunk, self._has_more = body_chunk(await self._receive(), "file")
        self._held += chunk


def _check_file(part: Part) -> Part:
    """Return the part if it is a file.

    Raises InvalidArgument, with its name, for a field.
    """
    if part.filename is None:
        message = "expected no field beside the file; send parameters in the query, and a filename with the file"
        raise InvalidArgument(f"form: {message}; got {quoted(part.name)}", field=field_name(part.name) or "form")
    return part


def _line(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode(errors="replace").partition(":")
    return name.strip().lower(), value.strip()


def _parameters(value: str) -> dict[str, str]:
    """Return the parameters of a header value by name; of duplicates, the first."""
    parameters: dict[str, str] = {}
    for name, quoted_value, unquoted in _PARAMETER.findall(value):
        parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted_value) if quoted_value else unquoted.strip())
    return parameters
