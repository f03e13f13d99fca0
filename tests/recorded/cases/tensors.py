"""Cases for the Open Inference Protocol over HTTP: health, metadata, statistics, JSON and binary inference."""

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.recorded.exchange import Case
from tests.recorded.http1 import Fields, Http1, request
from tests.recorded.inputs import encoded, gzipped, infer, records, tensors

_READ: Final = (
    "/v2",
    "/v2/",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/health/other",
    "/v2/models/titanic",
    "/v2/models/titanic/versions/1",
    "/v2/models/titanic/versions/9",
    "/v2/models/titanic/versions/x",
    "/v2/models/nothing",
    "/v2/models/titanic/ready",
    "/v2/models/titanic/versions/1/ready",
    "/v2/models/titanic/versions/9/ready",
    "/v2/models/nothing/ready",
    "/v2/models/titanic/config",
    "/v2/models/titanic/versions/1/config",
    "/v2/models/nothing/config",
    "/v2/models/titanic/stats",
    "/v2/models/titanic/versions/1/stats",
    "/v2/models/nothing/stats",
    "/v2/models/stats",
    "/v2/models",
    "/v2/models/titanic/trace/setting",
    "/v2/systemsharedmemory/status",
    "/v2/logging",
)
_OUTPUTS: Final = {"outputs": [{"name": "probabilities"}]}
_JSON: Final[Mapping[str, bytes]] = {
    "two rows": infer(),
    "one row": infer(1),
    "300 rows": infer(300),
    "no rows": infer(0),
    "flat shapes": infer(2, **{each["name"]: {"shape": [2]} for each in tensors()}),
    "nested data": infer(2, pclass={"data": [[1], [3]]}),
    "an id": infer(2, {"id": "request-1"}),
    "an id that is a number": infer(2, {"id": 1}),
    "one output": infer(2, _OUTPUTS),
    "outputs in another order": infer(2, {"outputs": [{"name": "probabilities"}, {"name": "label"}]}),
    "an output twice": infer(2, {"outputs": [{"name": "label"}, {"name": "label"}]}),
    "an unknown output": infer(2, {"outputs": [{"name": "score"}]}),
    "no outputs": infer(2, {"outputs": []}),
    "an output in binary": infer(
        2, {"outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}]}
    ),
    "all outputs in binary": infer(2, {"parameters": {"binary_data_output": True}}),
    "classification": infer(2, {"outputs": [{"name": "probabilities", "parameters": {"classification": 2}}]}),
    "classification of 0": infer(2, {"outputs": [{"name": "probabilities", "parameters": {"classification": 0}}]}),
    "classification of labels": infer(2, {"outputs": [{"name": "label", "parameters": {"classification": 1}}]}),
    "a timeout": infer(2, {"parameters": {"timeout": 60_000_000, "priority": 1}}),
    "a timeout in words": infer(2, {"parameters": {"timeout": "soon"}}),
    "an unknown parameter": infer(2, {"parameters": {"sequence_id": 7}}),
    "shared memory": infer(2, sex={"parameters": {"shared_memory_region": "x"}}),
    "base64": infer(1, sex={"data": ["bWFsZQ=="], "parameters": {"content_type": "base64"}}),
    "wrong base64": infer(1, sex={"data": ["b"], "parameters": {"content_type": "base64"}}),
    "content type pd": infer(2, sex={"parameters": {"content_type": "pd"}}),
    "nullable inputs left out": infer(2, age=None, fare=None, embarked=None),
    "a missing input": infer(2, sex=None),
    "an unknown input": encoded({"inputs": [*tensors(), {"name": "x", "shape": [2], "datatype": "FP32", "data": []}]}),
    "an input twice": encoded({"inputs": [*tensors(), tensors()[0]]}),
    "an input of other case": infer(2, sex={"name": "Sex"}),
    "a wrong datatype": infer(2, age={"datatype": "INT64"}),
    "an unknown datatype": infer(2, age={"datatype": "FLOAT"}),
    "a wrong shape": infer(2, pclass={"shape": [3, 1]}),
    "rows that differ": infer(2, pclass={"shape": [1, 1], "data": [1]}),
    "too many dimensions": infer(2, pclass={"shape": [2, 1, 1]}),
    "a negative shape": infer(2, pclass={"shape": [-1, 1]}),
    "a shape of no numbers": infer(2, pclass={"shape": ["2"]}),
    "a large shape": infer(2, pclass={"shape": [2**62, 1]}),
    "too little data": infer(2, pclass={"data": [1]}),
    "text for numbers": infer(2, pclass={"data": ["1", "2"]}),
    "a category that is none": infer(2, pclass={"data": [1, 9]}),
    "a null that may not be": infer(2, pclass={"data": [1, None]}),
    "below the range": infer(2, age={"data": [-1, 1]}),
    "no data": encoded({"inputs": [{"name": "pclass", "shape": [1], "datatype": "INT64"}]}),
    "no inputs": b'{"inputs":[]}',
    "no key inputs": b"{}",
    "an unknown key": infer(2, {"options": {}}),
    "empty": b"",
    "a list": b"[]",
    "malformed": infer()[:50],
    "a byte order mark": b"\xef\xbb\xbf" + infer(),
}
_INFER: Final = "/v2/models/titanic/infer"
_HEADERS: Final[Mapping[str, Fields]] = {
    "json stated": [("content-type", "application/json")],
    "octets stated": [("content-type", "application/octet-stream")],
    "csv stated": [("content-type", "text/csv")],
    "a timeout of 0": [("x-request-timeout-ms", "0")],
    "a report": [("x-lifeboat-report", "1")],
    "accept-encoding": [("accept-encoding", "gzip")],
    "a header length in words": [("inference-header-content-length", "x")],
    "a header length of 0": [("inference-header-content-length", "0")],
    "a header length beyond the body": [("inference-header-content-length", "99999")],
}


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for path in _READ:
        yield Http1(f"GET {path}", "v2", (request("GET", path),))
    for name, body in _JSON.items():
        yield _infer(name, body)
    for name, fields in _HEADERS.items():
        yield _infer(f"with {name}", infer(), fields)
    yield _infer("gzip", gzipped(infer()), [("content-encoding", "gzip")])
    yield _infer("half of gzip", gzipped(infer())[:40], [("content-encoding", "gzip")])
    for path in ("/v2/models/titanic/versions/1", "/v2/models/titanic/versions/9", "/v2/models/nothing"):
        yield Http1(f"POST {path}/infer", "v2", (request("POST", f"{path}/infer", infer()),))
    yield from _binary()
    yield from _repository()


def _infer(name: str, body: bytes, fields: Fields = ()) -> Http1:
    return Http1(f"POST {_INFER}: {name}", "v2", (request("POST", _INFER, body, fields),))


def raw_contents(count: int = 2) -> dict[str, bytes]:
    """Return the bytes of each input tensor for `count` rows.

    A null is NaN or an empty string.
    """
    rows = records(count)
    found = {}
    for name in ("pclass", "sibsp", "parch"):
        found[name] = struct.pack(f"<{count}q", *(row[name] for row in rows))
    for name in ("age", "fare"):
        found[name] = struct.pack(f"<{count}f", *(float("nan") if row[name] is None else row[name] for row in rows))
    for name in ("sex", "embarked"):
        texts = [(row[name] or "").encode() for row in rows]
        found[name] = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return {each["name"]: found[each["name"]] for each in tensors()}


def _described(contents: Mapping[str, bytes], more: Mapping[str, Any]) -> bytes:
    """Return the JSON of a request whose inputs in `contents` follow it in binary."""
    described = []
    for each in tensors():
        content = contents.get(each["name"])
        if content is None:
            described.append(each)
        else:
            head = {key: value for key, value in each.items() if key != "data"}
            described.append({**head, "parameters": {"binary_data_size": len(content)}})
    return encoded({"inputs": described, **more})


def _binary() -> Iterator[Case]:
    contents = raw_contents()
    mixed = {name: contents[name] for name in ("pclass", "sex")}
    wrong = {
        "short texts": {"sex": struct.pack("<I", 9) + b"male"},
        "half a number": {"pclass": b"\1\0\0"},
        "a category that is none": {"pclass": struct.pack("<2q", 1, 9)},
        "no UTF-8": {"sex": (struct.pack("<I", 2) + b"\xff\xfe") * 2},
        "infinite": {"age": struct.pack("<2f", float("inf"), 1)},
    }
    for name, given in {"all": contents, "mixed": mixed, **wrong}.items():
        for output, more in (("JSON", {}), ("binary", {"parameters": {"binary_data_output": True}})):
            head = _described(given, more)
            fields = [("inference-header-content-length", str(len(head)))]
            yield _infer(f"binary, {name}, to {output}", head + b"".join(given.values()), fields)
    head = _described(contents, {})
    fields = [("inference-header-content-length", str(len(head)))]
    content = b"".join(contents.values())
    yield _infer("binary, bytes missing", head + content[:-1], fields)
    yield _infer("binary, bytes behind", head + content + b"x", fields)
    yield _infer("binary without a length", head + content)
    yield _infer("binary in gzip", gzipped(head + content), [*fields, ("content-encoding", "gzip")])


def _repository() -> Iterator[Case]:
    for body in (b"", b"{}", b'{"ready":true}', b'{"ready":1}', b"[]", b"{", b'{"repository_name":"x"}'):
        sent = request("POST", "/v2/repository/index", body)
        yield Http1(f"POST /v2/repository/index: {body.decode()}", "v2", (sent,))
    for action in ("load", "unload"):
        path = f"/v2/repository/models/titanic/{action}"
        for name, fields in (("no token", []), ("a token", [("authorization", "Bearer x")])):
            yield Http1(f"POST {path} with {name}", "control", (request("POST", path, b"", fields),))
