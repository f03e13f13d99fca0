"""Parts scored by a deployed service: what fails in passing is tried again."""

import http.client
import json
import re
import time
import urllib.parse
from typing import Any, Final

from server.errors import CODES, InvalidArgument, RequestError
from server.score.splitting import Part
from server.score.task import Task
from server.scoring import Counts
from server.tables.forms import CSV, NDJSON, TAB_SEPARATED, Form

TRIES: Final = 5
TIMEOUT_S: Final = 120.0
FIRST_WAIT_S: Final = 0.5
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be others the next time."""
_COPY_BYTES: Final = 64 * 1024
_LAST_BYTES: Final = 64 * 1024
"""Bytes at an answer's end among which its counts are."""
_COUNT_NAMES: Final = (b"read", b"scored", b"failed")
_COUNT: Final = re.compile(rb"rows-(read|scored|failed)\W{1,12}?(\d+)")


class RemoteError(Exception):
    """The service can't be had, or refuses; the message has its words."""


class _Passing(Exception):
    """What may be otherwise the next time, and in how many seconds."""

    def __init__(self, words: str, after_s: float | None = None) -> None:
        super().__init__(words)
        self.after_s = after_s


class Service:
    """A Lifeboat behind a URL."""

    def __init__(self, task: Task) -> None:
        """Call what `task` names."""
        url = urllib.parse.urlsplit(str(task.url))
        self._kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._host = url.netloc
        tried = task.tried
        path = f"{url.path.rstrip('/')}/api"
        if tried.model is not None:
            path += f"/models/{urllib.parse.quote(tried.model, safe='')}"
        if tried.version is not None:
            path += f"/versions/{urllib.parse.quote(tried.version, safe='')}"
        if tried.label is not None:
            path += f"/labels/{urllib.parse.quote(tried.label, safe='')}"
        if (tried.version or tried.label) and tried.model is None:
            raise RemoteError("--url: expected --model beside --version or --label")
        query = {"columns": tried.columns, "on_error": tried.on_error, "summary": "last"}
        if tried.delimiter is not None:
            query["delimiter"] = tried.delimiter
        self._tabs = task.tabs
        self._path = f"{path}/batch?{urllib.parse.urlencode(query)}"

    def score(self, part: Part, out: Any, form: Form | None) -> Counts:  # noqa: ANN401 # a file
        """Have one part scored and its answer written. Raises RemoteError; RequestError as the service has it."""
        wait_s = FIRST_WAIT_S
        for tries_left in range(TRIES - 1, -1, -1):
            try:
                return self._once(part, out, form or part.form)
            except (OSError, http.client.HTTPException, _Passing) as error:
                words = str(error) or type(error).__name__
                if not tries_left:
                    raise RemoteError(f"{self._host}: part {part.number} failed {TRIES} times: {words}") from None
                time.sleep(getattr(error, "after_s", None) or wait_s)
                wait_s *= 2
                out.restart()
        raise AssertionError("the last try returns or raises")

    def _once(self, part: Part, out: Any, form: Form) -> Counts:  # noqa: ANN401
        connection = self._kind(self._host, timeout=TIMEOUT_S)
        try:
            accepted = TAB_SEPARATED if self._tabs else form.media_type
            headers = {"content-type": part.form.media_type, "accept": accepted, "accept-encoding": "identity"}
            connection.request("POST", self._path, part.body, headers)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise _refused(response)
            if response.getheader("content-type") != accepted:
                raise RemoteError(f"{self._host}: expected {accepted}; is there a Lifeboat at this address?")
            return _counts(_copy(response, out, form))
        finally:
            connection.close()


def _copy(response: http.client.HTTPResponse, out: Any, form: Form) -> bytes:  # noqa: ANN401 # a file
    """Write an answer but for the record of counts that was asked for. Returns its end, in which the counts are."""
    last = b""
    while data := response.read(_COPY_BYTES):
        last += data
        out.write(last[:-_LAST_BYTES])
        last = last[-_LAST_BYTES:]
    out.write(last[: last.rstrip(b"\n").rfind(b"\n") + 1] if form in {CSV, NDJSON} else last)
    return last


def _counts(last: bytes) -> Counts:
    """Return the counts that stand in the end of an answer, in whatever form: their names, and numbers in digits."""
    found = {name: int(number) for name, number in _COUNT.findall(last)}
    if len(found) < len(_COUNT_NAMES):
        raise _Passing("the answer ends without its counts")
    return Counts(*(found[name] for name in _COUNT_NAMES))


def _refused(response: http.client.HTTPResponse) -> Exception:
    """Return what an answer other than 200 comes to."""
    text = response.read(_COPY_BYTES)
    try:
        told = json.loads(text)
        code, words = str(told["code"]), str(told["error"])
    except (ValueError, KeyError, TypeError):
        code, words = "", text[:200].decode(errors="replace").strip() or response.reason
    if response.status in _PASSING:
        after = response.getheader("retry-after", "")
        return _Passing(words, float(after) if after.isdigit() else None)
    if code in CODES:
        return _told(code, words)
    return RemoteError(f"{response.status}: {words}")


def _told(code: str, words: str) -> RequestError:
    kinds = {kind.code: kind for kind in RequestError.__subclasses__()}
    return kinds.get(code, InvalidArgument)(words)
