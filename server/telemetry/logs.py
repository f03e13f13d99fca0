"""Log formatters: JSON lines for a collector, text for a person.

By default they omit exception messages, because these may quote a client's input.
"""

import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

import msgspec

from server.http.request_context import current, trace_ids

_MODEL_LOGGERS: Final = ("lifeboat.repository", "lifeboat.admin", "lifeboat.following", "opentelemetry")
"""Loggers of modules that read no client input; their exception messages are logged."""
_OMITTED: Final = "(message omitted, because it may quote an input; LIFEBOAT_LOG_INPUTS=1 logs it)"
_MESSAGE_FIELDS: Final = frozenset({"method", "path", "status"})
_MAX_CHAIN: Final = 16
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160))} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
"""Control characters: they would end a text line or change the display of a terminal."""


def configure(log_format: str, *, inputs: bool) -> None:
    """Configure every logger to write lines in format `log_format` to standard error.

    For an unknown format, use text on a terminal, else JSON. With `inputs`, exception messages are logged; they may
    quote a client's input.
    """
    if log_format not in {"json", "text"}:
        log_format = "text" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(inputs=inputs) if log_format == "json" else TextLines(inputs=inputs))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_thread_uncaught
    sys.unraisablehook = _log_unraisable
    logging.raiseExceptions = False  # prevents Python from printing its own lines for a record that cannot be written


def _log_uncaught(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    """Log an exception that ends the process, instead of Python's own output."""
    logging.getLogger("lifeboat").critical("ended by an unexpected exception", exc_info=(kind, error, at))


def _log_thread_uncaught(arguments: threading.ExceptHookArgs) -> None:
    """Log an exception that ends a thread, instead of Python's own output."""
    _log_uncaught(arguments.exc_type, arguments.exc_value or arguments.exc_type(), arguments.exc_traceback)


def _log_unraisable(arguments: "sys.UnraisableHookArgs") -> None:
    """Log an exception that cannot be caught, for example in a finalizer.

    The object is not logged, because its text may contain an input.
    """
    if arguments.exc_value is not None:
        logging.getLogger("lifeboat").error("an exception that can't be caught", exc_info=arguments.exc_value)


class _Lines(logging.Formatter):
    """Common part of both formats."""

    def __init__(self, *, inputs: bool) -> None:
        super().__init__(_TEXT)
        self._inputs = inputs

    def message_text(self, record: logging.LogRecord) -> str:
        """Return the message of a record.

        For asyncio records, return only the first line: the other lines show the content of a task.
        """
        message = record.getMessage()
        return message if self._inputs or record.name != "asyncio" else message.partition("\n")[0]

    def exception(self, record: logging.LogRecord) -> str:
        """Return the traceback of a record; empty if it has none."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return ""
        if self._inputs or record.name.startswith(_MODEL_LOGGERS):
            return "".join(traceback.format_exception(error)).rstrip()
        return "\n".join(_frames(error))


class TextLines(_Lines):
    """Formatter that writes a record as one text line, followed by its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        record.message = self.message_text(record)
        parts = [
            f"{name}={_value(value)}"
            for name, value in _fields(record).items()
            if not _is_in_message(name, value, record)
        ]
        record.message = " ".join([record.message.translate(_CONTROL), *parts])
        record.asctime = self.formatTime(record)
        return "\n".join(filter(None, [self.formatMessage(record), self.exception(record)]))


class JsonLines(_Lines):
    """Formatter that writes a record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.message_text(record),
            **_fields(record),
        }
        if traceback := self.exception(record):
            line["exception"] = traceback
        try:
            return msgspec.json.encode(line).decode()
        except UnicodeEncodeError:  # a lone surrogate, for example from a file name that is not UTF-8
            return msgspec.json.encode({name: _encodable(value) for name, value in line.items()}).decode()


def rfc3339(unix_s: float) -> str:
    """Format a Unix time in UTC with milliseconds (RFC 3339)."""
    seconds, milliseconds = divmod(int(unix_s * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the record's extra fields and the ids of its request."""
    extra_fields: dict[str, Any] = getattr(record, "fields", {})
    observation = current.get()
    if observation is None:
        return extra_fields
    return {"request_id": observation.request_id, **trace_ids(observation.trace), **extra_fields}


def _is_in_message(name: str, value: object, record: logging.LogRecord) -> bool:
    """Return True if the record's message already contains the field.

    True for ids in the message, and for the start of a request's line.
    """
    return name in _MESSAGE_FIELDS or (name.endswith("_id") and str(value) in record.message)


def _frames(error: BaseException) -> Iterator[str]:
    """Yield a traceback without exception messages, the cause first."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and len(chain) < _MAX_CHAIN:
        chain.append(cause)
    for each in reversed(chain):
        yield "Traceback (most recent call last):"
        yield "".join(traceback.format_tb(each.__traceback__)).rstrip()
        yield f"{type(each).__module__}.{type(each).__qualname__} {_OMITTED}"


def _value(value: object) -> str:
    text = str(_encodable(value))
    return text if text.isprintable() and " " not in text and text else msgspec.json.encode(text).decode()


def _encodable(value: object) -> object:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
