"""State of one request for the request log and traces: client data, result, timing."""

import os
import re
from collections.abc import Collection
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from server.errors import CODES, Internal, RequestError
from server.http.message import Fields, Headers

REQUEST_ID: Final = b"x-request-id"
TRACE: Final = b"traceparent"
_VALID_ID: Final = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
_VALID_TRACE: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
"""Format of W3C Trace Context (section 3.2). Additions of later versions are ignored."""
_SAFE_MESSAGE_CODES: Final = frozenset(
    {"canceled", "deadline_exceeded", "internal", "resource_exhausted", "unavailable"}
)
"""Codes whose messages never quote client input. Messages of other codes may quote it."""
_INTERFACE_NAMES: Final = frozenset(
    {
        *("model", "version", "label", "records", "service", "name", "inputs", "outputs", "parameters"),
        *("raw_input_contents", "columns", "on_error", "delimiter", "summary", "of"),
        *("headers", "accept", "content-type", "content-encoding"),
    }
)
"""Interface names that an error's field may have, in addition to a model's names."""
_RECORD_FIELD: Final = re.compile(r"(?:records\[\d+\]\.)?(.*)", re.DOTALL)
_RECORD: Final = re.compile(r"records\[\d+\]")
MAX_RUNS: Final = 32
"""Maximum number of recorded runs per request; a stream may have any number of runs."""


class Run(NamedTuple):
    """A model run that included the request; times are Unix nanoseconds."""

    queued_ns: int
    began_ns: int
    ended_ns: int
    rows: int
    """Number of rows of all requests in the run."""
    requests: int


class StartTime(NamedTuple):
    """Time at which a request's head was complete."""

    clock_ns: int
    """Time on the clock that measures durations."""
    unix_ns: int


class Observation:
    """Observed data of one request."""

    __slots__ = (
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
        "response_fields",
        "rows",
        "runs",
        "span",
        "start",
        "status",
        "trace",
    )

    def __init__(
        self, method: str, path: str, headers: list[tuple[bytes, bytes]], http_version: str, start: StartTime
    ) -> None:
        """Add the request ID to `headers`; create it if the client sent no valid one."""
        self.start = start
        self.method = method
        self.path = path
        self.headers = headers
        self.http_version = http_version
        self.request_id = request_id(headers)
        self.trace = trace(headers)
        """Trace context of the request, or of its span if it has one; empty: none."""
        self.response_fields: Fields = ((REQUEST_ID, self.request_id.encode()),)
        """Response headers that identify the request."""
        headers.extend(self.response_fields)
        self.status = 0
        """Status of the response; 0: no response."""
        self.error: RequestError | None = None
        """The last error that the client received."""
        self.field = ""
        """Field of the error, if the name is not from client input: see `known_field`."""
        self.duration_ns = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.model = ""
        self.model_version = ""
        self.rows = 0
        self.runs: list[Run] = []
        self.input = b""
        """The start of the client's input, if input recording is enabled."""
        self.span: Any = None

    def add_rows(self, model: str, version: str, rows: int) -> None:
        """Add `rows` rows for a model version."""
        self.model = model
        self.model_version = version
        self.rows += rows

    @property
    def code(self) -> str:
        """The code of the error that ended the request; empty if it succeeded."""
        if self.error is not None:
            return self.error.code
        return "" if self.status < 400 else _CODE_BY_STATUS.get(self.status, Internal.code)


_CODE_BY_STATUS: Final = {status.http: code for code, status in CODES.items()}

current: ContextVar[Observation | None] = ContextVar("observation", default=None)
"""The observation of the current request, if requests are observed."""


def note(error: RequestError) -> None:
    """Record the error that the client of the current request receives."""
    observation = current.get()
    if observation is not None:
        observation.error = error


def request_id(headers: Headers) -> str:
    """Return the client's request ID if it is valid, else a new one."""
    value = dict(headers).get(REQUEST_ID, b"").decode("latin-1")
    return value if _VALID_ID.fullmatch(value) else os.urandom(16).hex()


def trace(headers: Headers) -> str:
    """Return the trace context of a request; empty if it is missing or invalid."""
    value = dict(headers).get(TRACE, b"").decode("latin-1")
    return value if _VALID_TRACE.fullmatch(value) else ""


def trace_ids(context: str) -> dict[str, str]:
    """Return the IDs of a trace context as fields of a log line."""
    if not context:
        return {}
    _, trace_id, span_id, _ = context.split("-")
    return {"trace_id": trace_id, "span_id": span_id}


def fields(headers: Headers) -> dict[str, Any]:
    """Return the log fields that identify the request with these `headers`."""
    value = dict(headers).get(REQUEST_ID, b"").decode("latin-1")
    ids = {"request_id": value} if _VALID_ID.fullmatch(value) else {}
    return ids | trace_ids(trace(headers))


def has_safe_message(error: RequestError) -> bool:
    """Return True if the message of an error does not quote client input."""
    return error.code in _SAFE_MESSAGE_CODES


def known_field(error: RequestError, names: Collection[str]) -> str:
    """Return the field of an error if its name is known, else "".

    Known names are a model's `names` and the names of the interfaces. Any other name is client input: a column of a
    file without a header has its first value as its name.
    """
    field = error.field or ""
    (name,) = _RECORD_FIELD.fullmatch(field).groups()  # type: ignore[union-attr] # matches every string
    return field if name in names or name in _INTERFACE_NAMES or _RECORD.fullmatch(name) else ""


def log_text(error: RequestError, names: Collection[str], *, inputs: bool) -> str:
    """Return the log text of an error.

    The message is included with `inputs`, or if it quotes no client input. `names` are those of the request's model.
    """
    if inputs or has_safe_message(error):
        return f"{error.code}: {error.message}"
    field = known_field(error, names)
    return f"{error.code}, {field[:64]}" if field else error.code
