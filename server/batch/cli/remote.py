"""Scoring of parts by a deployed service, with retries of temporary errors."""

import email.utils
import http.client
import json
import re
import socket
import ssl
import struct
import sys
import tempfile
import time
import urllib.parse
from contextlib import suppress
from typing import IO, Final

from tqdm import tqdm

from server.batch.cli.local_file import Output
from server.batch.cli.merge import as_parquet
from server.batch.cli.service_url import Address
from server.batch.cli.split import Part
from server.batch.cli.task import Remote, ServedVersion, Task
from server.batch.scorer import Counts
from server.batch.writer import PREFIX
from server.codecs.tables.compression import compress
from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET, TAB_SEPARATED, FileFormat
from server.errors import CODES, InvalidArgument, RequestError

MAX_WAIT_S: Final = 60.0
"""Maximum seconds between two tries, also if Retry-After states more."""
_TEMPORARY_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 531)})
"""Statuses of temporary errors; 520 and above are Cloudflare's."""
_COPY_BYTES: Final = 64 * 1024
_LAST_BYTES: Final = 256 * 1024
"""Bytes at the end of a response that hold the counts or the error."""
_COUNT_NAMES: Final = (b"read", b"scored", b"failed")
_COUNT: Final = re.compile(rb"rows-(read|scored|failed)\W{1,12}?(\d+)")
_NOTE: Final = re.compile(re.escape(PREFIX.encode()) + rb"error\0\0(.{4})", re.DOTALL)
"""Error in an Arrow stream's metadata: a flatbuffer key, then the message's length."""
_ROW: Final = "row "


class RemoteError(Exception):
    """The service can't be reached, or rejects a part; the message states its error."""


class _TemporaryError(Exception):
    """A temporary error, and the service's Retry-After in seconds, if any."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Service:
    """A deployed Lifeboat service."""

    def __init__(self, task: Task, served: ServedVersion | None) -> None:
        """Use the service of `task`, and the version `served` if it scored earlier parts."""
        assert task.remote is not None  # noqa: S101 # the command line checks this
        self._remote: Remote = task.remote
        self._address = Address(task.remote.url)
        self._task = task
        self._served = served

    def score(self, part: Part, out: Output, file_format: FileFormat) -> tuple[Counts, ServedVersion]:
        """Score one part and write the response to `out`.

        All parts use the model version that scored the first part, even if a label moves. Raises RemoteError, the
        service's RequestError, and OSError if the response can't be written.
        """
        if file_format is not PARQUET:
            return self._score_with_retries(part, out, file_format)
        with tempfile.TemporaryFile() as stream:  # Arrow can state the error of an aborted response, Parquet can't
            temporary_file = _TemporaryFile(stream)
            counts, served = self._score_with_retries(part, temporary_file, ARROW)
            stream.seek(0)
            as_parquet(stream, out, counts)
        return counts, served

    def _score_with_retries(
        self, part: Part, out: "Output | _TemporaryFile", file_format: FileFormat
    ) -> tuple[Counts, ServedVersion]:
        wait_s = self._remote.retry_wait_s
        for remaining_tries in range(self._remote.tries - 1, -1, -1):
            try:
                return self._score_once(part, out, file_format)
            except (OSError, http.client.HTTPException, _TemporaryError) as error:
                if out.failure is not None:
                    raise
                _raise_permanent_error(error, self._address.host)
                message = f"{self._address.host}: {_reason(error)}"
                if not remaining_tries:
                    tries = f"{self._remote.tries} attempts" if self._remote.tries > 1 else "1 attempt"
                    raise RemoteError(f"{message} ({tries}); run the command again to resume") from None
                retry_after_s = getattr(error, "retry_after_s", None)
                self._wait(min(wait_s if retry_after_s is None else retry_after_s, MAX_WAIT_S), f"{part}: {message}")
                wait_s *= 2
                out.restart()
        raise AssertionError("the last try returns or raises")

    def _wait(self, wait_s: float, message: str) -> None:
        if not self._task.quiet:
            tqdm.write(f"score: {message}; retrying in {wait_s:g} s", file=sys.stderr)
        time.sleep(wait_s)

    def _score_once(
        self, part: Part, out: "Output | _TemporaryFile", file_format: FileFormat
    ) -> tuple[Counts, ServedVersion]:
        accepted = TAB_SEPARATED if self._task.tabs else file_format.media_type
        connection = self._address.connection()
        try:
            response = self._call(connection, part, accepted)
            if response.status != http.client.OK:
                raise _response_error(response)
            found = response.getheader("content-type", "").partition(";")[0].strip()
            served = ServedVersion(
                response.getheader("lifeboat-model", ""), response.getheader("lifeboat-version", ""), sha256=None
            )
            if found != accepted or not served.model:
                raise RemoteError(f"{self._address.host}: expected {accepted}; is there a Lifeboat at this address?")
            if self._served not in {None, served}:
                message = f"expected predictions of {self._served}; got those of {served}"
                raise RemoteError(f"{self._address.host}: {message}")
            counts = _counts(_copy(response, out, file_format))
        finally:
            connection.close()
        self._served = served
        return counts, served

    def _call(self, connection: http.client.HTTPConnection, part: Part, accepted: str) -> http.client.HTTPResponse:
        """Send a part, and read the head of the response."""
        body = compress(part.body) if self._remote.compress else part.body
        connection.putrequest("POST", self._path(), skip_accept_encoding=True)
        for name, value in (
            *self._remote.headers,
            ("content-type", part.file_format.media_type),
            ("content-length", str(len(body))),
            ("accept", accepted),
            ("accept-encoding", "identity"),
            *([("content-encoding", "zstd")] if self._remote.compress else []),
        ):
            connection.putheader(name, value)
        connection.endheaders()
        with suppress(BrokenPipeError, ConnectionResetError):  # the service may reject a part before it is complete
            for start in range(0, len(body), _COPY_BYTES):  # the timeout applies to each piece
                connection.send(memoryview(body)[start : start + _COPY_BYTES])
        return connection.getresponse()

    def _path(self) -> str:
        options, served = self._task.options, self._served
        model, version, label = options.model, options.version, options.label
        if served is not None:
            model, version, label = served.model, served.version, None
        path = f"{self._address.path}/api"
        for kind, name in (("models", model), ("versions", version), ("labels", label)):
            if name is not None:
                path += f"/{kind}/{urllib.parse.quote(name, safe='')}"
        query = {"columns": options.columns, "on_error": options.on_error, "summary": "last"}
        for name in ("delimiter", "decimal", "null"):
            value = getattr(options, name)
            if value is not None:
                query[name] = value
        return f"{path}/batch?{urllib.parse.urlencode(query)}"


class _TemporaryFile:
    """A temporary file in place of an `Output`."""

    def __init__(self, file: IO[bytes]) -> None:
        self.failure: Exception | None = None
        self._file = file

    def write(self, data: bytes, /) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.failure = error
            raise

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _raise_permanent_error(error: Exception, host: str) -> None:
    """Raise RemoteError for a permanent connection error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        raise RemoteError(f"{host}: its certificate is not trusted: {error.verify_message}") from None
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        raise RemoteError(f"{host}: TLS failed: {error.reason}; is it an http:// address?") from None
    if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
        raise RemoteError(f"{host}: {error.strerror}") from None


def _copy(response: http.client.HTTPResponse, out: "Output | _TemporaryFile", file_format: FileFormat) -> bytes:
    """Write a response to `out`. Returns the end of the response, which holds the counts.

    In CSV and NDJSON, the last record holds the counts; it is not written.
    """
    last = b""
    try:
        while data := response.read(_COPY_BYTES):
            last += data
            out.write(last[:-_LAST_BYTES])
            last = last[-_LAST_BYTES:]
    except (OSError, http.client.HTTPException) as error:
        if out.failure is None:
            _raise_stated_error(last + getattr(error, "partial", b""), file_format)
        raise
    out.write(last[: last.rstrip(b"\n").rfind(b"\n") + 1] if file_format in {CSV, NDJSON} else last)
    return last


def _raise_stated_error(last: bytes, file_format: FileFormat) -> None:
    """Raise the error that the end of an aborted response states, if any.

    InvalidArgument for an invalid row, which no retry makes valid; otherwise a temporary error.
    """
    message = ""
    if file_format is ARROW:
        for found in _NOTE.finditer(last):
            (length,) = struct.unpack("<I", found[1])
            message = last[found.end() : found.end() + length].decode(errors="replace")
    else:
        line = last.rstrip(b"\n").rpartition(b"\n")[2].decode(errors="replace")
        if file_format is CSV and line.startswith("# error: "):
            message = line.removeprefix("# error: ")
        elif file_format is NDJSON:
            message = _parse_error(line.encode())[1]
    if message.startswith(_ROW):
        raise InvalidArgument(message)
    if message:
        raise _TemporaryError(message)


def _counts(last: bytes) -> Counts:
    """Return the counts from the end of a response.

    In every format they are names followed by digits.
    """
    found = {name: int(number) for name, number in _COUNT.findall(last)}
    if len(found) < len(_COUNT_NAMES):
        raise _TemporaryError("the response ends without its row counts")
    return Counts(*(found[name] for name in _COUNT_NAMES))


def _response_error(response: http.client.HTTPResponse) -> Exception:
    """Return the error for a response whose status is not 200."""
    try:
        text = response.read(_COPY_BYTES)
    except (OSError, http.client.HTTPException):
        text = b""
    code, message = _parse_error(text)
    status = f"{response.status} {response.reason}".strip()
    if response.status in _TEMPORARY_STATUSES:
        return _TemporaryError(message or status, _seconds(response.getheader("retry-after", "")))
    if code in CODES:
        kinds = {kind.code: kind for kind in RequestError.__subclasses__()}
        return kinds[code](message)
    if 300 <= response.status < 400:
        return RemoteError(f"{status}: it redirects to {response.getheader('location', '')[:200]!r}; use that address")
    hints = dict.fromkeys((401, 403), "send credentials with --header")
    hints[413] = "send smaller parts with --part-rows, or compress them with --compress"
    return RemoteError(f"{status}: {hints.get(response.status, 'is there a Lifeboat at this address?')}")


def _parse_error(text: bytes) -> tuple[str, str]:
    """Return the code and the message of an error envelope. Empty if `text` is not one."""
    with suppress(ValueError, KeyError, TypeError):
        envelope = json.loads(text)
        return str(envelope["code"]), " ".join(str(envelope["error"]).split())
    return "", ""


def _seconds(text: str) -> float | None:
    """Return the seconds to wait by a Retry-After header; None if it is invalid.

    The header states seconds or a date.
    """
    if text.isascii() and text.isdecimal():
        return float(text)
    with suppress(ValueError, TypeError):
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    return None
