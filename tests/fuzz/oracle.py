"""What no input may lead to: the faults of an outcome, as text."""

from collections.abc import Iterator
from typing import Any, Final

import httptools

from tests.fuzz.service import Outcome

ANY_NUMBER: Final = -1
MAX_TURN_S: Final = 0.25
"""CPU seconds that one turn of the loop may take: all other clients wait so long."""
MAX_CPU_S: Final = 2.0
"""CPU seconds that one input may take, in all threads."""
MAX_GROWTH_BYTES: Final = 128 * 1024 * 1024
"""How much one input may add to the most memory that the process ever held."""
_FORESEEN: Final = frozenset({501, 503, 504})
"""Statuses from 500 on that the table of errors has for what a client does."""


class Responses:
    """Parses the responses of one connection; `statuses` and `bodies` hold what was found."""

    def __init__(self, written: bytes) -> None:
        """Parse what the server wrote. `error` says where it is no HTTP."""
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
        """Keep a header."""
        self.headers[-1].append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Keep the status. One below 200 is followed by another response to the same request."""
        status = self._parser.get_status_code()
        if status >= 200:
            self.statuses.append(status)
            self.bodies.append(b"")
        else:
            self.headers.pop()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self.bodies[-1] += body


def faults(outcome: Outcome, responses: int = ANY_NUMBER) -> list[str]:
    """Return what is wrong with an outcome; nothing where all is right. Each begins with the kind of the fault."""
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
    """Return what two findings of the same fault have in common: its kind, and where an exception was raised."""
    name, _, text = fault.partition(": ")
    if name != "exception":
        return name
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    places = [line for line in lines if line.startswith("File ")]
    return f"{name} {places[-1] if places else ''} {lines[-1].partition(':')[0]}"
