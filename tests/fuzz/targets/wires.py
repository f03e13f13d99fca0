"""Targets for raw HTTP bytes, and the comparison of the fast path with uvicorn."""

import json
import re
from collections.abc import Sequence
from typing import Final

from tests.fuzz import http1, protobuf
from tests.fuzz.http2 import Http2Client
from tests.fuzz.oracle import Responses
from tests.fuzz.service import Outcome, Service
from tests.fuzz.target import Target
from tests.passenger import PASSENGER
from tests.server.support.rpc import INFER, PREDICT, enveloped, request, tensors
from tests.server.support.wire import post

_PIECES: Final = 7
_LONG: Final = 4096
_TRIES: Final = 3
_MALFORMED: Final = b"request: expected HTTP/1.1"


def requests() -> list[bytes]:
    """Return complete requests of different kinds: to each interface, with a length or chunked."""
    typed = request(**PASSENGER).SerializeToString()
    call = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\ncontent-length: %d\r\n\r\n"
    one = post("/api/predict", PASSENGER)
    body = json.dumps(PASSENGER).encode()
    return [
        one,
        one.replace(b"content-length", b"Content-Length"),
        post("/api/predict", PASSENGER, "connection: close"),
        post("/api/predict", {"records": [PASSENGER] * 2}, "content-type: application/json"),
        post("/api/predict", {"pclass": 9}),
        post("/v2/models/titanic/infer", {"inputs": []}),
        call % (PREDICT.encode(), len(typed)) + typed,
        b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /api/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (len(body), body),
    ]


def _run_raw(service: Service, data: bytes) -> Outcome:
    """Send an input on one connection, in one piece."""
    return service.exchange([data])


def _run_split(service: Service, data: bytes) -> Outcome:
    """Compare the responses of the fast path and uvicorn, whole and in pieces."""
    first, rest = data[:1] or b"\0", data[1:]
    size = first[0] % _PIECES + 1 if len(rest) <= _LONG else len(rest) // 2 + 1
    return compared(service, rest, [rest[at : at + size] for at in range(0, len(rest), size)])


def compared(service: Service, data: bytes, pieces: Sequence[bytes]) -> Outcome:
    """Return the outcome of a connection's bytes; its errors include each way with different responses.

    A difference counts only if it repeats: a response may be in progress when the client disconnects.
    """
    for _ in range(_TRIES):
        whole = service.exchange([data])
        for name, sent, slow in (("uvicorn", [data], True), ("pieces", pieces, False), ("both", pieces, True)):
            other = service.exchange(sent, without_fast_path=slow)
            whole.errors += [*other.errors, *(f"differs, {name}: {each}" for each in differences(whole, other))]
            whole.left_behind = whole.left_behind or other.left_behind
            whole.is_hung = whole.is_hung or other.is_hung
        if not whole.errors:
            break
    return whole


def differences(one: Outcome, other: Outcome) -> list[str]:
    """Return the differences between the responses of two connections that received the same bytes.

    A request before malformed HTTP may have a response or not, depending on when the malformed bytes arrived. If one
    connection ends with that rejection, the shorter list of responses must be a prefix of the longer list. Responses
    with a deadline error aren't compared.
    """
    ours, theirs = _answered(one), _answered(other)
    if 504 in {status for status, _ in (*ours, *theirs)}:
        return []
    count = min(len(ours), len(theirs))
    is_malformed = any(_MALFORMED in each.written[0] for each in (one, other))
    found = []
    if ours[:count] != theirs[:count] or (len(ours) != len(theirs) and not is_malformed):
        found.append(f"responses {ours!r} and {theirs!r}"[:800])
    if one.is_closed != other.is_closed:
        found.append(f"the connection is closed: {one.is_closed[0]} and {other.is_closed[0]}")
    return found


def _answered(outcome: Outcome) -> list[tuple[int, bytes]]:
    """Return status and body of each response, except the rejection of malformed HTTP."""
    found = Responses(outcome.written[0])
    bodies = [re.sub(rb"request id [0-9a-f]+", b"", body) for body in found.bodies]
    return [each for each in zip(found.statuses, bodies, strict=True) if _MALFORMED not in each[1]]


def splits(data: bytes) -> Sequence[list[bytes]]:
    """Return the request cut in two at each byte, and cut into single bytes."""
    cuts = [[data[:at], data[at:]] for at in range(1, len(data))]
    return [*cuts, [data[at : at + 1] for at in range(len(data))]]


def _connections() -> list[bytes]:
    body = json.dumps(PASSENGER).encode()
    grpc = ("content-type", "application/grpc")
    typed, infer = request(**PASSENGER).SerializeToString(), tensors(1, raw=True).SerializeToString()
    kind = ("content-type", "application/json")
    return [
        Http2Client().send("/api/predict", body, kind).data(),
        Http2Client().send("/api/predict", body, kind).send("/api/predict", body).send("/v2", b"").data(),
        Http2Client().send(PREDICT, enveloped(typed), grpc, ("te", "trailers")).data(),
        Http2Client().send(INFER, enveloped(infer), grpc, ("grpc-timeout", "1S")).data(),
        Http2Client().send("/api/batch", b"pclass,sex\n1,male\n", ("content-type", "text/csv")).data(),
        Http2Client().send("/grpc.health.v1.Health/Watch", enveloped(b""), grpc).data(),
    ]


TARGETS: Final = (
    Target("http1", requests, http1.raw, _run_raw),
    Target(
        "differential",
        lambda: [b"\2" + each for each in requests()],
        lambda data, chance: data[:1] + http1.raw(data[1:], chance),
        _run_split,
        weight=2,
    ),
    Target("http2", _connections, protobuf.frames, _run_raw),
)
