"""Hostile bytes in place of any JSON value: 400 or 413, never 500."""

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.codecs.json_shape import LARGE_BYTES, check_depth, scan
from server.errors import InvalidArgument
from tests.passenger import DATATYPES, PASSENGER
from tests.server.support.process import connect, read_response
from tests.server.support.rpc import BATCH, INFER, PREDICT

REST: Final = "/api/predict"
V2: Final = "/v2/models/titanic/infer"
HOSTILE: Final = [
    b"\xff",
    b'"\xed\xa0\x80"',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\u0000"',
    b"\x00",
    b"1" + b"0" * 309,
    b"-1" + b"0" * 309,
    b"1" * 4301,
    b"1" * 309 + b".5",
    b"1e400",
    b"-1E+99999999999999999999",
    b"NaN",
    b"-Infinity",
    b'"NaN"',
    b'"' + b"1" * 4301 + b'"',
    b"18446744073709551616",
    b"[" * 5000,
    b'{"a":' * 5000,
    b"[]",
    b"[[]]",
    b"{}",
    b"true",
    b"null",
]
"""Bytes that replace a value; some of them are no JSON."""
PADDING: Final = (0, 300_000)
"""Extra bytes for a small body, and for one too large for a second decoding."""
_MARK: Final = "__hostile__"
Put = Callable[[bytes], bytes]


def _puts(document: dict[str, Any]) -> Iterator[Put]:
    """Yield a function for each value and name that replaces it with other bytes."""
    template = json.dumps(document).encode()
    mark = json.dumps(_MARK).encode()
    for marked in _marked(document):
        before, _, after = json.dumps(marked).encode().partition(mark)
        yield lambda hostile, before=before, after=after: before + hostile + after  # type: ignore[misc]
    yield lambda hostile: template[:-1] + b"," + hostile + b":1}"
    yield lambda hostile: hostile


def _marked(value: Any) -> Iterator[Any]:  # noqa: ANN401 # JSON
    """Yield a copy of `value` for each value inside it, with that value marked."""
    yield _MARK
    if isinstance(value, dict):
        for name, each in value.items():
            yield from (value | {name: marked} for marked in _marked(each))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from ([*value[:place], marked, *value[place + 1 :]] for marked in _marked(each))


def _tensor(name: str) -> dict[str, Any]:
    return {"name": name, "shape": [1, 1], "datatype": DATATYPES[name], "data": [PASSENGER[name]]}


_BINARY = {"name": "age", "shape": [1, 1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}
_OUTPUT = {"name": "label", "parameters": {"classification": 1, "binary_data": True}}
_PARAMETERS = {"timeout": 0, "priority": 0, "binary_data_output": False}
_CALL = {
    "modelName": "titanic",
    "parameters": {"timeout": {"int64Param": 0}, "other": {"doubleParam": 0.5}},
    "inputs": [{"name": "age", "shape": [1, 1], "datatype": "FP32", "contents": {"fp32Contents": [1]}}],
    "rawInputContents": [""],
}
REQUESTS: Final[dict[str, list[dict[str, Any]]]] = {
    REST: [PASSENGER, {"records": [PASSENGER, {}]}],
    "/api/explain": [{"sex": "male"}],
    V2: [{"id": "1", "parameters": _PARAMETERS, "outputs": [_OUTPUT], "inputs": [_tensor("pclass"), _BINARY]}],
    PREDICT: [PASSENGER],
    BATCH: [{"records": [{"sex": "male", "age": 1}, {}]}],
    INFER: [_CALL],
    "/v2/repository/index": [{"ready": True}],
}
"""Valid or almost valid requests by path."""


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("path", REQUESTS)
def test_no_hostile_value_is_a_server_error(server: httpx.Client, path: str, padding: int) -> None:
    """A hostile value never gets a 5xx except 501, and the next request succeeds."""
    some = HOSTILE if not padding else HOSTILE[::4]
    bodies = [put(hostile) for document in REQUESTS[path] for put in _puts(document) for hostile in some]
    headers = {"content-type": "application/json"}
    for body in bodies:
        response = server.post(path, content=body + b" " * padding, headers=headers)
        assert response.status_code in {200, 400, 404, 413, 429, 501}, (body[:200], response.text)
    assert server.post(REST, json=PASSENGER).status_code == 200


@pytest.mark.parametrize("timeout", [10**309, -(10**309), 2**64, 1.5, "1", True, 1e308])
def test_wrong_timeout_names_the_field(server: httpx.Client, timeout: object) -> None:
    """A timeout that is no 64-bit number of microseconds is rejected by name."""
    body = {"parameters": {"timeout": timeout}, "inputs": [_tensor(name) for name in PASSENGER]}
    response = server.post(V2, json=body)
    assert (response.status_code, response.json()["field"]) == (400, "parameters")
    assert response.json()["error"].startswith("timeout: expected a whole number from 0 to 2^64 - 1; got ")


def test_the_longest_timeout(server: httpx.Client) -> None:
    """A timeout of 2^64 - 1 microseconds is accepted."""
    body = {"parameters": {"timeout": 2**64 - 1}, "inputs": [_tensor(name) for name in PASSENGER]}
    assert server.post(V2, json=body).status_code == 200


@pytest.mark.parametrize("padding", PADDING)
def test_bad_utf8_and_surrogates_are_told(server: httpx.Client, padding: int) -> None:
    """Invalid UTF-8 and lone surrogates are rejected like invalid JSON, in small and large bodies."""
    for value in (b"\xff", b"\\ud800"):
        response = server.post(REST, content=b'{"sex":"' + value + b'"' + b" " * padding + b"}")
        assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")
        assert response.json()["error"].startswith(("body: expected a JSON object: ", "sex: expected one of "))


@pytest.mark.parametrize("digits", [19, 4301])
@pytest.mark.parametrize("path", [REST, V2, PREDICT, "/api/explain"])
def test_length_of_many_digits(server: httpx.Client, path: str, digits: int) -> None:
    """A Content-Length or JSON length with too many digits is rejected with 400."""
    with connect(server) as connection:
        _post(connection, path, f"content-length: {'2'.zfill(digits)}")
        assert read_response(connection)[0] == 400
    with connect(server) as connection:
        _post(connection, V2, f"inference-header-content-length: {'9' * digits}\r\ncontent-length: 2")
        assert read_response(connection)[0] == 400


def _post(connection: socket.socket, path: str, headers: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}\r\n\r\n"
    connection.sendall(head.encode() + b"{}")


_ILLEGAL: Final = {
    "empty arrays": (b"[", b"[],", b"[]]"),
    "numbers": (b'{"age":[', b"1,", b"1]}"),
    "members": (b"{", b'"age":1,', b'"age":1}'),
    "records": (b'{"records":[', b"{},", b"{}]}"),
}
_ILLEGAL_TENSORS: Final = {
    "lists": (b'{"inputs":[{"name":"age","shape":[9,1],"datatype":"FP32","data":[', b"[],", b"[]]}]}"),
    "strings": (b'{"inputs":[{"name":"sex","shape":[9,1],"datatype":"BYTES","data":[', b'"",', b'""]}]}'),
    "inputs": (b'{"inputs":[', b"{},", b"{}]}"),
    "parameters": (b'{"inputs":[],"parameters":{', b'"a":1,', b'"a":1}}'),
    "shape": (b'{"inputs":[{"name":"age","shape":[', b"1,", b'1],"datatype":"FP32","data":[]}]}'),
}


@pytest.mark.parametrize(
    ("path", "parts"),
    [(REST, each) for each in _ILLEGAL.values()] + [(V2, each) for each in _ILLEGAL_TENSORS.values()],
)
def test_more_values_than_any_request_has(server: httpx.Client, path: str, parts: tuple[bytes, bytes, bytes]) -> None:
    """4 MB of tiny values are rejected with 413 before they are decoded."""
    before, unit, after = parts
    body = before + unit * ((4 * 1024 * 1024 - len(before) - len(after)) // len(unit)) + after
    response = server.post(path, content=body)
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")
    assert response.json()["error"].startswith("body: expected at most ")


def test_punctuation_in_strings_counts_for_nothing(server: httpx.Client) -> None:
    """Punctuation inside strings does not count as values."""
    body = json.dumps(PASSENGER | {"sex": '{"[,:\\' * 100_000})
    response = server.post(REST, content=body)
    assert (response.status_code, response.json()["field"]) == (400, "sex")


def _by_hand(document: bytes) -> tuple[int, ...]:
    """Return depth, objects, members and elements, counted byte by byte."""
    inside = escaped = False
    depth = deepest = 0
    counts = {ord("{"): 0, ord(":"): 0, ord(","): 0}
    for code in document:
        if code == ord('"') and not escaped:
            inside = not inside
        elif not inside:
            depth += (code in b"[{") - (code in b"]}")
            deepest = max(deepest, depth)
            if code in counts:
                counts[code] += 1
        escaped = code == ord("\\") and not escaped
    return deepest, *counts.values()


@settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.randoms(use_true_random=False), st.integers(0, 300), st.integers(-3, 3))
def test_scan_is_exact(random: Any, length: int, shift: int) -> None:  # noqa: ANN401 # hypothesis' type
    """The scan's counts equal a byte-by-byte scan's, also across the limits of its slices."""
    some = np.array([*b'"\\[]{},: '], np.uint8)
    rest = bytes(some[[random.randrange(len(some)) for _ in range(length)]])
    for document in (rest, b"\\" * (LARGE_BYTES + shift) + rest, b'"' + b" " * (LARGE_BYTES - 1 + shift) + rest):
        assert scan(document) == _by_hand(document)


def test_depth_of_a_deep_end() -> None:
    """The depth check finds deep nesting anywhere, and ignores brackets in strings."""
    deep = b'["' + b"[" * 100_000 + b'",' + b"[" * 32 + b"]" * 32 + b"]"
    check_depth(deep, 33)
    with pytest.raises(InvalidArgument, match="at most 32 deep"):
        check_depth(deep, 32)
