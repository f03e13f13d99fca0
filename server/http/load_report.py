"""Load report in a response: the model's time, and the server's load.

A client that balances requests over several servers requests a report with each request: `x-lifeboat-report: 1`.
"""

from typing import Final, Self

from server.http.message import JSON, Body, Fields, Headers, HttpResponse
from server.inference.batcher import Receiver
from server.inference.runner import InferenceRequest, Load, Runner
from server.models.signature import Outputs

ASKS: Final = (b"x-lifeboat-report", b"1")
"""The header that requests a report."""


def asks(headers: Headers) -> bool:
    """Return True if the client requests a report."""
    return ASKS in headers


class Report:
    """Receiver that adds a load report to a response and passes it on."""

    __slots__ = ("_before_ns", "_counters", "_encode", "_find", "_load", "_receiver")
    _before_ns: int
    _load: Load

    def __init__(self, runner: Runner, receiver: Receiver[Body]) -> None:
        """Create a report for a run of `runner`; `receiver` gets the response.

        `follow` sets the request of the run.
        """
        self._receiver = receiver
        self._counters = runner.counters
        self._find = runner.load

    def follow(self, work: InferenceRequest[Body]) -> Self:
        """Report on the run that includes `work`."""
        self._encode = work.encode
        work.encode = self._encoded
        return self

    def _encoded(self, outputs: Outputs, start: int, stop: int) -> Body:
        """Encode the response, and read the load while the run still counts as active.

        After the run, its requests would be missing from the load.
        """
        answer = self._encode(outputs, start, stop)
        self._load = self._find()
        self._before_ns = self._counters.infer_ns
        return answer

    def is_disconnected(self) -> bool:
        """Return True if the client disconnected."""
        return self._receiver.is_disconnected()

    def deliver(self, answer: Body | Exception) -> None:
        """Pass on a response with the report, or an error unchanged."""
        if isinstance(answer, bytes):
            answer = HttpResponse(answer, JSON, self._fields())
        elif isinstance(answer, HttpResponse):
            answer = answer._replace(headers=(*answer.headers, *self._fields()))
        self._receiver.deliver(answer)

    def _fields(self) -> Fields:
        model_ms = (self._counters.infer_ns - self._before_ns) / 1e6  # counted after the encoding
        timing = b"model;dur=%.3f" % model_ms
        return ((b"server-timing", timing), (b"x-lifeboat-load", b"%d/%d" % self._load))
