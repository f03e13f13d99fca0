"""Failed requests leave no reference cycles, which would hold their bodies until a garbage collection."""

import gc
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import pytest

from tests.passenger import PASSENGER
from tests.server.support.process import ROOT, read_response
from tests.server.support.wire import Wire

_MANY: Final = json.dumps({"records": [PASSENGER] * 3_000}).encode()
_FILE: Final = b"pclass,sex,age,sibsp,parch,fare,embarked\n1,unknown,29,0,0,211.3,S\n"
_RPC: Final = "/lifeboat.titanic.v1.TitanicService/Predict"
_JSON: Final = "content-type: application/json"
_CASES: Final = {
    "malformed": ("/api/predict", [_JSON], b"{"),
    "wrong value": ("/api/predict", [_JSON], b'{"pclass": 9}'),
    "large and malformed": ("/api/predict", [_JSON], _MANY[:-1]),
    "large with a wrong value": ("/api/predict", [_JSON], _MANY.replace(b'"female"', b'"unknown"')),
    "malformed gzip": ("/api/predict", [_JSON, "content-encoding: gzip"], _MANY),
    "unknown type": ("/api/predict", ["content-type: text/plain"], b"{}"),
    "unknown path": ("/api/unknown", [_JSON], b"{}"),
    "unknown model": ("/api/models/unknown/predict", [_JSON], b"{}"),
    "late": ("/api/predict", [_JSON, "x-request-timeout-ms: 0"], _MANY),
    "no tensors": ("/v2/models/titanic/infer", [_JSON], b'{"inputs": []}'),
    "too many explanations": ("/api/explain", [_JSON], _MANY),
    "incomplete explanation": ("/api/explain", [_JSON], b"{}"),
    "incomplete message": (_RPC, [_JSON], b"{}"),
    "large message": (_RPC, [_JSON], _MANY),
    "columns missing": ("/api/batch", ["content-type: text/csv"], b"pclass,sex\n1,female\n"),
    "wrong row": ("/api/batch", ["content-type: text/csv"], _FILE),
}


def _send(served: Wire, path: str, headers: list[str], body: bytes) -> int:
    """Send a request on a new connection and return the response's status."""
    lines = [f"POST {path} HTTP/1.1", "host: test", f"content-length: {len(body)}", *headers, "", ""]

    def exchange(connection: socket.socket) -> int:
        connection.sendall("\r\n".join(lines).encode() + body)
        return read_response(connection)[0]

    with served.connect() as connection:
        status = served.during(lambda: exchange(connection))
    served.turn()  # the connection closes
    return status


@contextmanager
def _unreachable() -> Iterator[list[Any]]:
    """Yield a list that finally contains all objects that only the garbage collector frees."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    found: list[Any] = []
    try:
        yield found
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("case", _CASES)
def test_a_failed_request_leaves_no_frames(served: Wire, case: str) -> None:
    """A failed request leaves no server stack frame, with its variables, to the garbage collector."""
    _send(served, *_CASES[case])  # creates the objects that are created once
    with _unreachable() as found:
        assert _send(served, *_CASES[case]) >= 400
    frames = [each.f_code for each in found if isinstance(each, FrameType)]
    assert [code.co_qualname for code in frames if code.co_filename.startswith(str(ROOT / "server"))] == []
