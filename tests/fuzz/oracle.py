"""Find the faults of an outcome: what no input may lead to."""

from collections.abc import Iterator
from typing import Any, Final

import httptools

from tests.fuzz.service import Outcome

ANY_NUMBER: Final = -1
MAX_TURN_S: Final = 0.25
"""Maximum CPU seconds of one turn of the event loop.

All other clients wait during a turn.
"""
MAX_CPU_S: Final = 2.0
"""Maximum CPU seconds of one input, over all threads."""
MAX_GROWTH_BYTES: Final = 128 * 1024 * 1024
"""Maximum growth of the process's peak memory by one input."""
_FORESEEN: Final = frozenset({501, 503, 504})
"""Statuses from 500 on that the table of errors has for requests of clients."""


class Responses:
    """Parser of the responses on one connection; `statuses`, `bodies` and `headers` hold the results."""

    def __init__(self, written: bytes) -> None:
        """Parse the bytes that the server wrote.

        `error` holds the parser's error if they aren't HTTP.
        """
        self.statuses: list[int] = []
        self.bodies: list[bytes] = []
        self.headers: list[list[tuple[bytes, bytes]]] = []
        self.error = ""
        self._parser: Any = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(written)
        except httptools.HttpParserError as error:
            self.error = repr(error)

    def on_message_begin(self) -> None:
        """Begin a response."""
        self.headers.append([])

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header."""
        self.headers[-1].append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Store the status. After a status below 200 another response to the same request follows."""
        status = self._parser.get_status_code()
        if status >= 200:
            self.statuses.append(status)
            self.bodies.append(b"")
        else:
            self.headers.pop()

    def on_body(self, body: bytes) -> None:
        """Store a piece of the body."""
        self.bodies[-1] += body


def faults(outcome: Outcome, responses: int = ANY_NUMBER) -> list[str]:
    """Return the faults of an outcome; each text begins with the kind of fault."""
    found = [f"exception: {error}" for error in outcome.errors]
    if outcome.is_hung:
        found.append("hang: the server neither answered nor waited for its client")
    if outcome.left_behind:
        found.append(f"left behind: {outcome.left_behind}")
    if outcome.worst_turn_s > MAX_TURN_S:
        found.append(f"stall: one turn of the loop took {outcome.worst_turn_s:.2f} s of CPU")
    if outcome.cpu_s > MAX_CPU_S:
        found.append(f"cpu: {outcome.cpu_s:.2f} s of CPU")
    if outcome.memory_bytes > MAX_GROWTH_BYTES:
        found.append(f"memory: {outcome.memory_bytes / 1e6:.0f} MB more than ever before")
    for written in outcome.written:
        found += _of_responses(written, responses)
    return found


def _of_responses(written: bytes, expected: int) -> Iterator[str]:
    if written.startswith(b"HTTP/1.1"):
        responses = Responses(written)
        unforeseen = [status for status in responses.statuses if status >= 500 and status not in _FORESEEN]
        if unforeseen:
            yield f"status: {unforeseen[0]} {written[:400]!r}"
        if responses.error:
            yield f"framing: {responses.error}"
        if expected not in {ANY_NUMBER, len(responses.statuses)}:
            yield f"responses: {len(responses.statuses)} where {expected} were expected"
    elif expected not in {ANY_NUMBER, 0}:
        yield f"responses: none that is HTTP/1.1, {written[:80]!r}"


def kind(fault: str) -> str:
    """Return the key of a fault: its kind, and where an exception was raised.

    Two findings of the same fault have the same key.
    """
    name, _, text = fault.partition(": ")
    if name != "exception":
        return name
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    places = [line for line in lines if line.startswith("File ")]
    return f"{name} {places[-1] if places else ''} {lines[-1].partition(':')[0]}"
