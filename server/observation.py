"""One request as the log and the traces tell of it: who asked for what, how it ended, and where its time went."""

import os
import re
from collections.abc import Collection
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from server.errors import CODES, Internal, RequestError
from server.replies import Fields, Headers

REQUEST_ID: Final = b"x-request-id"
TRACE: Final = b"traceparent"
_SOUND_ID: Final = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
_SOUND_TRACE: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
"""As W3C's Trace Context has it (section 3.2); what a later version adds is left out."""
_OWN_WORDS: Final = frozenset({"canceled", "deadline_exceeded", "internal", "resource_exhausted", "unavailable"})
"""Codes whose messages are the server's own words: those of others may quote what a caller sent."""
_OWN_NAMES: Final = frozenset(
    {
        *("model", "version", "label", "records", "service", "name", "inputs", "outputs", "parameters"),
        *("raw_input_contents", "columns", "on_error", "delimiter", "summary", "of"),
        *("headers", "accept", "content-type", "content-encoding"),
    }
)
"""What a failure may be at that is no model's: words of the interfaces."""
_IN_RECORDS: Final = re.compile(r"(?:records\[\d+\]\.)?(.*)", re.DOTALL)
_RECORD: Final = re.compile(r"records\[\d+\]")
MAX_RUNS: Final = 32
"""Runs of one request that are remembered; a stream may have any number of them."""


class Run(NamedTuple):
    """A run of a model that a request was part of; times are Unix nanoseconds."""

    queued_ns: int
    began_ns: int
    ended_ns: int
    rows: int
    """Of all requests that ran together."""
    requests: int


class Began(NamedTuple):
    """When a request's head was there."""

    clock_ns: int
    """By the clock that durations are told by."""
    unix_ns: int


class Observation:
    """What is known of one request."""

    __slots__ = (
        "answer_fields",
        "began",
        "duration_ns",
        "error",
        "field",
        "headers",
        "http_version",
        "input",
        "method",
        "model",
        "model_version",
        "path",
        "request_bytes",
        "request_id",
        "response_bytes",
        "rows",
        "runs",
        "span",
        "status",
        "trace",
    )

    def __init__(
        self, method: str, path: str, headers: list[tuple[bytes, bytes]], http_version: str, began: Began
    ) -> None:
        """Put the request's id into `headers`, made where the caller gave none that is sound."""
        self.began = began
        self.method = method
        self.path = path
        self.headers = headers
        self.http_version = http_version
        self.request_id = request_id(headers)
        self.trace = trace(headers)
        """The trace context of the request, or of its span where there is one; empty: none."""
        self.answer_fields: Fields = ((REQUEST_ID, self.request_id.encode()),)
        """Headers of the answer that name the request."""
        headers.extend(self.answer_fields)
        self.status = 0
        """Of the answer's head; 0: there was none."""
        self.error: RequestError | None = None
        """What the caller was told last."""
        self.field = ""
        """What was at fault, where that is a name that the caller didn't make up: see `known_field`."""
        self.duration_ns = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.model = ""
        self.model_version = ""
        self.rows = 0
        self.runs: list[Run] = []
        self.input = b""
        """The beginning of what the caller sent, where that is asked for."""
        self.span: Any = None

    def takes(self, model: str, version: str, rows: int) -> None:
        """Note that `rows` more rows are for a model version."""
        self.model = model
        self.model_version = version
        self.rows += rows

    @property
    def code(self) -> str:
        """The code of the error that it ended in, empty where in none."""
        if self.error is not None:
            return self.error.code
        return "" if self.status < 400 else _CODE_OF.get(self.status, Internal.code)


_CODE_OF: Final = {status.http: code for code, status in CODES.items()}

current: ContextVar[Observation | None] = ContextVar("observation", default=None)
"""The request that this is done for, where requests are observed."""


def note(error: RequestError) -> None:
    """Note what the caller of the current request is told."""
    observation = current.get()
    if observation is not None:
        observation.error = error


def request_id(headers: Headers) -> str:
    """Return the request's id: the caller's where that is sound, else a new one."""
    given = dict(headers).get(REQUEST_ID, b"").decode("latin-1")
    return given if _SOUND_ID.fullmatch(given) else os.urandom(16).hex()


def trace(headers: Headers) -> str:
    """Return the trace context that a request is part of; empty where none was given, or no sound one."""
    given = dict(headers).get(TRACE, b"").decode("latin-1")
    return given if _SOUND_TRACE.fullmatch(given) else ""


def trace_ids(context: str) -> dict[str, str]:
    """Return the ids in a trace context, as a log line has them."""
    if not context:
        return {}
    _, trace_id, span_id, _ = context.split("-")
    return {"trace_id": trace_id, "span_id": span_id}


def fields(headers: Headers) -> dict[str, Any]:
    """Return what a log line says of the request that came with `headers`: what it names itself by."""
    given = dict(headers).get(REQUEST_ID, b"").decode("latin-1")
    named = {"request_id": given} if _SOUND_ID.fullmatch(given) else {}
    return named | trace_ids(trace(headers))


def has_own_words(error: RequestError) -> bool:
    """Return whether what a caller was told quotes nothing of what it sent."""
    return error.code in _OWN_WORDS


def known_field(error: RequestError, names: Collection[str]) -> str:
    """Return what was at fault, where it is one of a model's `names` or a word of the interfaces; else nothing.

    Any other name is the caller's own: a column of a file without a header is called as its first value.
    """
    field = error.field or ""
    (name,) = _IN_RECORDS.fullmatch(field).groups()  # type: ignore[union-attr] # it matches whatever there is
    return field if name in names or name in _OWN_NAMES or _RECORD.fullmatch(name) else ""


def told(error: RequestError, names: Collection[str], *, inputs: bool) -> str:
    """Return a failure as the log tells it: its message only with `inputs`, or where that quotes no caller.

    `names` are those of the model that was asked.
    """
    if inputs or has_own_words(error):
        return f"{error.code}: {error.message}"
    field = known_field(error, names)
    return f"{error.code}, {field[:64]}" if field else error.code
