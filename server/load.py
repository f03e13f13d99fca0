"""What an answer reports of the server to who asks for it: the model's time, and how much there is to do.

Whoever spreads requests over several servers asks with each of them: `x-lifeboat-report: 1`.
"""

from typing import Final

from server.batching import Receiver
from server.replies import JSON, Body, Fields, Headers, Reply
from server.runner import Load, Work
from server.signature import Outputs

ASKS: Final = (b"x-lifeboat-report", b"1")
"""The header that asks for a report."""


def asks(headers: Headers) -> bool:
    """Return whether the caller asks for a report."""
    return ASKS in headers


class Report:
    """Takes an answer on its way to who waits for it, and adds what the server reports."""

    __slots__ = ("_before_ns", "_counters", "_encode", "_find", "_load", "_receiver")
    _before_ns: int
    _load: Load

    def __init__(self, work: Work, receiver: Receiver[Body]) -> None:
        """Report of the run that `work` is a part of; `receiver` takes the answer."""
        self._receiver = receiver
        self._counters = work.runner.counters
        self._find = work.runner.load
        self._encode = work.encode
        work.encode = self._encoded

    def _encoded(self, outputs: Outputs, start: int, stop: int) -> Body:
        """Encode the answer; look around while the run still counts as under way: behind it, all that came has gone."""
        answer = self._encode(outputs, start, stop)
        self._load = self._find()
        self._before_ns = self._counters.infer_ns
        return answer

    def left(self) -> bool:
        """Return whether nobody waits any more."""
        return self._receiver.left()

    def deliver(self, answer: Body | Exception) -> None:
        """Hand on the answer with the report, a failure as it is."""
        if isinstance(answer, bytes):
            answer = Reply(answer, JSON, self._fields())
        elif isinstance(answer, Reply):
            answer = answer._replace(headers=(*answer.headers, *self._fields()))
        self._receiver.deliver(answer)

    def _fields(self) -> Fields:
        model_ms = (self._counters.infer_ns - self._before_ns) / 1e6  # the run was counted since it was encoded
        timing = b"model;dur=%.3f" % model_ms
        return ((b"server-timing", timing), (b"x-lifeboat-load", b"%d/%d" % self._load))
