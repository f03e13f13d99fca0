"""Request log: one line per finished request."""

import logging
from base64 import b64encode
from typing import Any, Final

from server.http.request_context import Observation, has_safe_message, trace_ids

_MAX_PATH: Final = 256
_MAX_FIELD: Final = 64
_log = logging.getLogger("lifeboat.request")


class RequestLog:
    """Writes one line for every request, or only for failed requests."""

    def __init__(self, selection: str, *, inputs: bool) -> None:
        """Log all requests if `selection` is "all", else failed ones.

        With `inputs`, also log what clients sent.
        """
        self._all = selection == "all"
        self._inputs = inputs

    def on_begin(self, observation: Observation) -> None:
        """Do nothing: the line is written when the request ends."""

    def on_end(self, observation: Observation) -> None:
        """Write the line, with a level by the result.

        A client error is a warning, a server fault is an error, every other result is information.
        """
        code = observation.code
        if not (code or self._all):
            return
        level = logging.ERROR if code in {"internal", "unavailable"} else logging.WARNING if code else logging.INFO
        path = observation.path[:_MAX_PATH]
        _log.log(
            level,
            "%s %s %d",
            observation.method,
            path,
            observation.status,
            extra={"fields": self._fields(observation, path)},
        )

    def close(self, timeout_s: float) -> None:
        """Do nothing: each line was written immediately."""

    def _fields(self, observation: Observation, path: str) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "method": observation.method,
            "path": path,
            "status": observation.status,
            "duration_ms": round(observation.duration_ns / 1e6, 3),
            "request_bytes": observation.request_bytes,
            "response_bytes": observation.response_bytes,
        }
        if observation.model:
            fields |= {"model": observation.model, "version": observation.model_version, "rows": observation.rows}
        if observation.code:
            fields |= {"code": observation.code} | self._error(observation)
        if self._inputs and observation.input:
            fields |= _input(observation.input)
        return fields | {"request_id": observation.request_id} | trace_ids(observation.trace)

    def _error(self, observation: Observation) -> dict[str, str]:
        """Return the error's field and message, if they may be logged."""
        error = observation.error
        if error is None:
            return {}
        field = (error.field or "") if self._inputs else observation.field
        fields = {"field": field[:_MAX_FIELD]} if field else {}
        return fields | ({"error": error.message} if self._inputs or has_safe_message(error) else {})


def _input(data: bytes) -> dict[str, str]:
    """Return the client's input, as text if it is valid UTF-8, else in base64."""
    text = data.decode(errors="replace")
    if "\N{REPLACEMENT CHARACTER}" in text[:-1]:  # truncation may split the last character
        return {"input_base64": b64encode(data).decode()}
    return {"input": text}
