"""A fuzzing target: the interface that gets the inputs, the seeds, and the mutation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.fuzz.mutation import Mutate
from tests.fuzz.oracle import ANY_NUMBER
from tests.fuzz.service import Outcome, Service

Run = Callable[[Service, bytes], Outcome]


@dataclass(frozen=True)
class Target:
    """One decoder behind one interface."""

    name: str
    seeds: Callable[[], Sequence[bytes]]
    """Makes the valid inputs where mutation begins."""
    mutate: Mutate
    run: Run
    """Runs one input."""
    responses: int = ANY_NUMBER
    """Number of responses to every input."""
    weight: int = 10
    """Share of inputs relative to other targets; slow targets get fewer."""


@dataclass(frozen=True)
class Head:
    """The head of a request whose body the fuzzer makes."""

    line: str
    headers: tuple[str, ...] = ()


_DELIVERIES: Final = 3
"""Ways to send a body: with its length, chunked, or in pieces with its length."""
CHOICES: Final = 2
"""Bytes before the body in an input: they choose the head and the delivery."""


def behind(heads: Sequence[Head]) -> Run:
    """Return a function that sends an input as a request body.

    The input's first two bytes choose the head and the delivery.
    """

    def run(service: Service, data: bytes) -> Outcome:
        which, how = (data + bytes(CHOICES))[:CHOICES]
        return service.exchange(
            request(heads[which % len(heads)], data[CHOICES:], how % _DELIVERIES), until_closed=True
        )

    return run


def request(head: Head, body: bytes, how: int = 0) -> list[bytes]:
    """Return a request in pieces; it makes the server close the connection after the response."""
    lines = [f"{head.line} HTTP/1.1", "host: x", "connection: close", *head.headers]
    lines.append("transfer-encoding: chunked" if how == 1 else f"content-length: {len(body)}")
    first = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    if how == 0:
        return [first + body]
    size = max(1, len(body) // 3)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    if how == 2:
        return [first, *pieces]
    return [first, *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]


def bodies(heads: Sequence[Head], documents: Sequence[bytes]) -> list[bytes]:
    """Return each document once for each head."""
    return [bytes([which, 0]) + document for which in range(len(heads)) for document in documents]


def body_of(inner: Mutate) -> Mutate:
    """Return a mutation of bodies, and sometimes of head and delivery too."""

    def mutate(data: bytes, chance: Random) -> bytes:
        choices = bytearray((data + bytes(CHOICES))[:CHOICES])
        if chance.randrange(4) == 0:
            choices[0] = chance.randrange(256)
        if chance.randrange(4) == 0:
            choices[1] = chance.randrange(_DELIVERIES)
        return bytes(choices) + inner(data[CHOICES:], chance)

    return mutate


def body_target(
    name: str, heads: Sequence[Head], documents: Callable[[], Sequence[bytes]], mutate: Mutate, weight: int = 10
) -> Target:
    """Return a target whose inputs are bodies; each input gets one response."""
    return Target(name, lambda: bodies(heads, documents()), body_of(mutate), behind(heads), 1, weight)
