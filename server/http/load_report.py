"""Load report in a response: the model's time, and the server's load.

A client that balances requests over several servers requests a report with each request: `x-lifeboat-report: 1`.
"""

from typing import Final

from server.http.message import JSON, Body, Fields, Headers, HttpResponse
from server.inference.batcher import Receiver
from server.inference.runner import Runner
from server.inference.statistics import RunInfo

REPORT_HEADER: Final = (b"x-lifeboat-report", b"1")
"""The header that requests a report."""


def requests_report(headers: Headers) -> bool:
    """Return True if the client requests a report."""
    return REPORT_HEADER in headers


class Report:
    """Receiver that adds a load report to a response and passes it on."""

    __slots__ = ("_load", "_receiver")

    def __init__(self, runner: Runner, receiver: Receiver[Body]) -> None:
        """Create a report for a run of `runner`; `receiver` gets the response."""
        self._receiver = receiver
        self._load = runner.load

    def is_disconnected(self) -> bool:
        """Return True if the client disconnected."""
        return self._receiver.is_disconnected()

    def deliver(self, result: Body | Exception, run: RunInfo | None = None) -> None:
        """Pass on a response with the report, or an error unchanged."""
        if run is None:
            self._receiver.deliver(result)
            return
        if isinstance(result, bytes):
            result = HttpResponse(result, JSON, self._fields(run))
        elif isinstance(result, HttpResponse):
            result = result._replace(headers=(*result.headers, *self._fields(run)))
        self._receiver.deliver(result, run)

    def _fields(self, run: RunInfo) -> Fields:
        requests, rows = self._load()
        # The client's own run is part of the load that it found, but its requests no longer count as pending.
        load = b"%d/%d" % (requests + run.requests, rows + run.rows)
        return ((b"server-timing", b"model;dur=%.3f" % (run.stages.infer_ns / 1e6)), (b"x-lifeboat-load", load))
