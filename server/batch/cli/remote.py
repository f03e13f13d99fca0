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
from server.batch.cli.task import Remote, Served, Task
from server.batch.scorer import Counts
from server.batch.writer import PREFIX
from server.codecs.tables.compression import packed
from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET, TAB_SEPARATED, Form
from server.errors import CODES, InvalidArgument, RequestError

MAX_WAIT_S: Final = 60.0
"""Maximum seconds between two tries, also if Retry-After states more."""
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 531)})
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


class _Passing(Exception):
    """A temporary error, and the service's Retry-After in seconds, if any."""

    def __init__(self, words: str, after_s: float | None = None) -> None:
        super().__init__(words)
        self.after_s = after_s


class Service:
    """A deployed Lifeboat service."""

    def __init__(self, task: Task, served: Served | None) -> None:
        """Use the service of `task`, and the version `served` if it scored earlier parts."""
        assert task.remote is not None  # noqa: S101 # the command line checks this
        self._remote: Remote = task.remote
        self._address = Address(task.remote.url)
        self._task = task
        self._served = served

    def score(self, part: Part, out: Output, form: Form) -> tuple[Counts, Served]:
        """Score one part and write the response to `out`.

        All parts use the model version that scored the first part, even if a label moves. Raises RemoteError, the
        service's RequestError, and OSError if the response can't be written.
        """
        if form is not PARQUET:
            return self._tried(part, out, form)
        with tempfile.TemporaryFile() as stream:  # Arrow can state the error of an aborted response, Parquet can't
            held = _Held(stream)
            counts, served = self._tried(part, held, ARROW)
            stream.seek(0)
            as_parquet(stream, out, counts)
        return counts, served

    def _tried(self, part: Part, out: "Output | _Held", form: Form) -> tuple[Counts, Served]:
        wait_s = self._remote.retry_wait_s
        for tries_left in range(self._remote.tries - 1, -1, -1):
            try:
                return self._once(part, out, form)
            except (OSError, http.client.HTTPException, _Passing) as error:
                if out.failure is not None:
                    raise
                _refuse_for_good(error, self._address.host)
                words = f"{self._address.host}: {_reason(error)}"
                if not tries_left:
                    tries = f"{self._remote.tries} attempts" if self._remote.tries > 1 else "1 attempt"
                    raise RemoteError(f"{words} ({tries}); run the command again to resume") from None
                asked_s = getattr(error, "after_s", None)
                self._wait(min(wait_s if asked_s is None else asked_s, MAX_WAIT_S), f"{part}: {words}")
                wait_s *= 2
                out.restart()
        raise AssertionError("the last try returns or raises")

    def _wait(self, wait_s: float, words: str) -> None:
        if not self._task.quiet:
            tqdm.write(f"score: {words}; retrying in {wait_s:g} s", file=sys.stderr)
        time.sleep(wait_s)

    def _once(self, part: Part, out: "Output | _Held", form: Form) -> tuple[Counts, Served]:
        accepted = TAB_SEPARATED if self._task.tabs else form.media_type
        connection = self._address.connection()
        try:
            response = self._call(connection, part, accepted)
            if response.status != http.client.OK:
                raise _refused(response)
            found = response.getheader("content-type", "").partition(";")[0].strip()
            served = Served(
                response.getheader("lifeboat-model", ""), response.getheader("lifeboat-version", ""), sha256=None
            )
            if found != accepted or not served.model:
                raise RemoteError(f"{self._address.host}: expected {accepted}; is there a Lifeboat at this address?")
            if self._served not in {None, served}:
                words = f"expected predictions of {self._served}; got those of {served}"
                raise RemoteError(f"{self._address.host}: {words}")
            counts = _counts(_copy(response, out, form))
        finally:
            connection.close()
        self._served = served
        return counts, served

    def _call(self, connection: http.client.HTTPConnection, part: Part, accepted: str) -> http.client.HTTPResponse:
        """Send a part, and read the head of the response."""
        body = packed(part.body) if self._remote.compress else part.body
        connection.putrequest("POST", self._path(), skip_accept_encoding=True)
        for name, value in (
            *self._remote.headers,
            ("content-type", part.form.media_type),
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
        tried, served = self._task.tried, self._served
        model, version, label = tried.model, tried.version, tried.label
        if served is not None:
            model, version, label = served.model, served.version, None
        path = f"{self._address.path}/api"
        for kind, name in (("models", model), ("versions", version), ("labels", label)):
            if name is not None:
                path += f"/{kind}/{urllib.parse.quote(name, safe='')}"
        query = {"columns": tried.columns, "on_error": tried.on_error, "summary": "last"}
        for name in ("delimiter", "decimal", "null"):
            value = getattr(tried, name)
            if value is not None:
                query[name] = value
        return f"{path}/batch?{urllib.parse.urlencode(query)}"


class _Held:
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


def _refuse_for_good(error: Exception, host: str) -> None:
    """Raise RemoteError for a permanent connection error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        raise RemoteError(f"{host}: its certificate is not trusted: {error.verify_message}") from None
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        raise RemoteError(f"{host}: TLS failed: {error.reason}; is it an http:// address?") from None
    if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
        raise RemoteError(f"{host}: {error.strerror}") from None


def _copy(response: http.client.HTTPResponse, out: "Output | _Held", form: Form) -> bytes:
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
            _raise_told(last + getattr(error, "partial", b""), form)
        raise
    out.write(last[: last.rstrip(b"\n").rfind(b"\n") + 1] if form in {CSV, NDJSON} else last)
    return last


def _raise_told(last: bytes, form: Form) -> None:
    """Raise the error that the end of an aborted response states, if any.

    InvalidArgument for an invalid row, which no retry makes valid; otherwise a temporary error.
    """
    words = ""
    if form is ARROW:
        for found in _NOTE.finditer(last):
            (length,) = struct.unpack("<I", found[1])
            words = last[found.end() : found.end() + length].decode(errors="replace")
    else:
        line = last.rstrip(b"\n").rpartition(b"\n")[2].decode(errors="replace")
        if form is CSV and line.startswith("# error: "):
            words = line.removeprefix("# error: ")
        elif form is NDJSON:
            words = _told(line.encode())[1]
    if words.startswith(_ROW):
        raise InvalidArgument(words)
    if words:
        raise _Passing(words)


def _counts(last: bytes) -> Counts:
    """Return the counts from the end of a response.

    In every format they are names followed by digits.
    """
    found = {name: int(number) for name, number in _COUNT.findall(last)}
    if len(found) < len(_COUNT_NAMES):
        raise _Passing("the response ends without its row counts")
    return Counts(*(found[name] for name in _COUNT_NAMES))


def _refused(response: http.client.HTTPResponse) -> Exception:
    """Return the error for a response whose status is not 200."""
    try:
        text = response.read(_COPY_BYTES)
    except (OSError, http.client.HTTPException):
        text = b""
    code, words = _told(text)
    status = f"{response.status} {response.reason}".strip()
    if response.status in _PASSING:
        return _Passing(words or status, _seconds(response.getheader("retry-after", "")))
    if code in CODES:
        kinds = {kind.code: kind for kind in RequestError.__subclasses__()}
        return kinds[code](words)
    if 300 <= response.status < 400:
        return RemoteError(f"{status}: it redirects to {response.getheader('location', '')[:200]!r}; use that address")
    hints = dict.fromkeys((401, 403), "send credentials with --header")
    hints[413] = "send smaller parts with --part-rows, or compress them with --compress"
    return RemoteError(f"{status}: {hints.get(response.status, 'is there a Lifeboat at this address?')}")


def _told(text: bytes) -> tuple[str, str]:
    """Return the code and the message of an error envelope. Empty if `text` is not one."""
    with suppress(ValueError, KeyError, TypeError):
        told = json.loads(text)
        return str(told["code"]), " ".join(str(told["error"]).split())
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
