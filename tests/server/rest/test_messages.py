"""Error messages on every interface: values are quoted, invisible characters escaped, exceeded limits named.

The tests combine a table of interfaces, each a function that sends one record, with a table of invalid values and
their expected messages.
"""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pyarrow as pa
import pytest

from server.codecs.tables.media_types import ARROW, PARQUET
from server.models.manifest import Feature
from server.models.repository import Repository
from server.models.signature import Column
from server.rpc.proto import inference_pb2
from tests.server.support import blobs, small
from tests.server.support.in_process import InProcess
from tests.server.support.tables import write

PREDICT: Final = "/lifeboat.titanic.v1.TitanicService/Predict"
INFER: Final = "/v2/models/titanic/infer"
MODEL_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
TYPES: Final = {"pclass": "INT64", "sex": "BYTES", "age": "FP32", "sibsp": "INT64", "parch": "INT64", "fare": "FP32"}
RECORD: Final = {"pclass": "1", "sex": '"female"', "age": "29", "sibsp": "0", "parch": "0", "fare": "7"}
"""Each feature's value as JSON text."""

Send = Callable[[httpx.Client, dict[str, str]], httpx.Response]


def _json(record: dict[str, str]) -> bytes:
    return ("{" + ",".join(f'"{name}":{value}' for name, value in record.items()) + "}").encode()


def _post(path: str, wrap: str = "%s") -> Send:
    def send(server: httpx.Client, record: dict[str, str]) -> httpx.Response:
        before, _, behind = wrap.partition("%s")
        content = before.encode() + _json(record) + behind.encode()
        return server.post(path, content=content, headers={"content-type": "application/json"})

    return send


def _ndjson(server: httpx.Client, record: dict[str, str]) -> httpx.Response:
    return server.post("/api/batch", content=_json(record) + b"\n")


def _query(server: httpx.Client, record: dict[str, str]) -> httpx.Response:
    return server.get("/api/predict", params=_texts(record))


def _csv(server: httpx.Client, record: dict[str, str]) -> httpx.Response:
    quoted = ['"' + text.replace('"', '""') + '"' for text in _texts(record).values()]
    return server.post("/api/batch", content=(",".join(record) + "\n" + ",".join(quoted) + "\n").encode())


def _arrow(server: httpx.Client, record: dict[str, str]) -> httpx.Response:
    return server.post("/api/batch", content=write(_table(record), ARROW))


def _parquet(server: httpx.Client, record: dict[str, str]) -> httpx.Response:
    return server.post("/api/batch", content=write(_table(record), PARQUET))


def _infer(server: httpx.Client, record: dict[str, str]) -> httpx.Response:
    tensors = [
        f'{{"name":"{name}","shape":[1,1],"datatype":"{TYPES[name]}","data":[{value}]}}'
        for name, value in record.items()
    ]
    return server.post(INFER, content=('{"inputs":[' + ",".join(tensors) + "]}").encode())


def _binary(server: httpx.Client, record: dict[str, str]) -> httpx.Response:
    packed = {name: _bytes(name, value) for name, value in record.items()}
    tensors = [
        {"name": name, "shape": [1], "datatype": TYPES[name], "parameters": {"binary_data_size": len(data)}}
        for name, data in packed.items()
    ]
    document = json.dumps({"inputs": tensors}).encode()
    headers = {blobs.LENGTH: str(len(document))}
    return server.post(INFER, content=document + b"".join(packed.values()), headers=headers)


def _rpc_infer(server: httpx.Client, record: dict[str, str]) -> httpx.Response:
    asked = inference_pb2.ModelInferRequest(model_name="titanic")
    for name, value in record.items():
        asked.inputs.add(name=name, datatype=TYPES[name], shape=[1])
        asked.raw_input_contents.append(_bytes(name, value))
    headers = {"content-type": "application/proto"}
    return server.post(MODEL_INFER, content=asked.SerializeToString(), headers=headers)


def _texts(record: dict[str, str]) -> dict[str, str]:
    """Return each value as text, for formats without types."""
    return {name: json.loads(value) if value.startswith('"') else value for name, value in record.items()}


def _table(record: dict[str, str]) -> pa.Table:
    return pa.table({name: [text] for name, text in _texts(record).items()})


def _bytes(name: str, value: str) -> bytes:
    if TYPES[name] == "BYTES":
        return blobs.blob("BYTES", [json.loads(value)])
    return struct.pack("<q" if TYPES[name] == "INT64" else "<f", json.loads(value))


JSON: Final[dict[str, Send]] = {
    "predict": _post("/api/predict"),
    "records": _post("/api/predict", '{"records":[%s]}'),
    "explain": _post("/api/explain"),
    "connect": _post(PREDICT),
    "connect batch": _post(f"{PREDICT}Batch", '{"records":[%s]}'),
    "ndjson": _ndjson,
    "infer": _infer,
}
"""Interfaces with JSON values."""
TEXT: Final[dict[str, Send]] = {"query": _query, "csv": _csv, "arrow": _arrow, "parquet": _parquet}
"""Interfaces with text values."""
TENSORS: Final[dict[str, Send]] = {"binary": _binary, "rpc": _rpc_infer}
"""Interfaces with binary values."""

SEX: Final = 'expected one of "female", "male"; got '
AGE: Final = "expected a number from 0 to 120 or null; got "
FARE: Final = "expected a number from 0 to 3.40282346638529e+38 or null; got "
SIBSP: Final = "expected an integer from 0 to 9223372036854775807; got "
STRINGS: Final = [
    ("sex", '"female "', f'{SEX}"female "'),
    ("sex", '" "', f'{SEX}" "'),
    ("sex", '"a\\u0000b"', f'{SEX}"a\\u0000b"'),
    ("sex", '"a\\tb\\u007f\\u200b\\u00a0"', f'{SEX}"a\\tb\\u007f\\u200b\\u00a0"'),
    ("sex", '"\\u202emale"', f'{SEX}"\\u202emale"'),
    ("sex", f'"{"y" * 99}"', f'{SEX}"{"y" * 40}"...'),
    ("sex", '"1"', f'{SEX}"1"'),
]
"""Strings for every interface: feature, value as JSON text, end of the message."""
NUMBERS: Final = [
    ("sibsp", str(2**63), f"{SIBSP}{2**63}"),
    ("sibsp", str(10**30), f"{SIBSP}{10**30}"),
    ("sibsp", "-1", "expected an integer of at least 0; got -1"),
    ("age", "120.5", f"{AGE}120.5"),
    ("age", '"old "', f'{AGE}"old "'),
    ("fare", "1e39", f"{FARE}1e+39|{FARE}1e39"),
    ("fare", "1e400", f"{FARE}1e400|{FARE}Infinity"),
]
"""Numbers for the JSON and text interfaces, in the same form."""
NO_JSON: Final = [
    ("age", "NaN", f"{AGE}NaN"),
    ("age", "-Infinity", f"{AGE}-Infinity"),
    ("sex", '"\\ud800"', f'{SEX}"\\ud800": a lone surrogate is no Unicode character'),
    ("sex", '"a\\udc00b"', f'{SEX}"a\\udc00b": a lone surrogate is no Unicode character'),
]
"""Values that JSON doesn't have, in the same form.

Decoders call them malformed or truncated.
"""


def _said(response: httpx.Response) -> str:
    assert response.status_code == 400, response.text
    answer = response.json()
    return str(answer["error"] if "error" in answer else answer["message"])


def _cases() -> Iterator[Any]:
    for name, send in (JSON | TEXT | TENSORS).items():
        for fault in STRINGS:
            yield pytest.param(send, *fault, id=f"{name} {fault[1][:20]}")
    for name, send in (JSON | TEXT).items():
        for fault in NUMBERS:
            yield pytest.param(send, *fault, id=f"{name} {fault[1][:20]}")
    for name, send in JSON.items():
        for fault in NO_JSON:
            yield pytest.param(send, *fault, id=f"{name} {fault[1][:20]}")


@pytest.mark.parametrize(("send", "feature", "value", "words"), [*_cases()])
def test_what_is_wrong_is_shown(server: httpx.Client, send: Send, feature: str, value: str, words: str) -> None:
    """The message has the feature, what was expected, and the value in visible characters."""
    said = _said(send(server, RECORD | {feature: value}))
    assert feature in said.partition(": expected")[0]
    assert any(said.endswith(each) for each in words.split("|")), said
    assert send(server, RECORD).status_code == 200


@pytest.mark.parametrize("send", [*JSON.values()], ids=[*JSON])
def test_a_byte_order_mark_is_taken(server: httpx.Client, send: Send) -> None:
    """A byte order mark before a JSON document is accepted."""

    class Marked(httpx.Client):
        def post(self, path: str, *, content: bytes, **named: Any) -> httpx.Response:  # type: ignore[override] # noqa: ANN401
            return super().post(path, content=b"\xef\xbb\xbf" + content, **named)

    with Marked(base_url=server.base_url) as client:
        assert send(client, RECORD).status_code == 200


@pytest.mark.parametrize(
    "send", [each for name, each in JSON.items() if name != "infer"], ids=[name for name in JSON if name != "infer"]
)
@pytest.mark.parametrize("name", ['"sex"', '"\\u0073ex"', '"fare"'])
@pytest.mark.parametrize("without", ["", "age"])
def test_a_name_given_twice_is_refused(server: httpx.Client, send: Send, name: str, without: str) -> None:
    """A record with a duplicate name, escaped or not, is rejected on every interface."""
    record = {each: value for each, value in RECORD.items() if each != without}
    feature = json.loads(name)
    twice = {**record, "parch": f"{record['parch']},{name}:{record[feature]}"}
    said = _said(send(server, twice))
    assert said.endswith(f"{feature}: expected once; it is given more than once")
    assert send(server, record).status_code == 200


@pytest.mark.parametrize("send", [*(JSON | TEXT).values()], ids=[*(JSON | TEXT)])
@pytest.mark.parametrize("name", ["Sex", " sex", "Age"])
def test_a_name_written_otherwise_is_explained(server: httpx.Client, send: Send, name: str) -> None:
    """A name that differs only in case or blanks is rejected, nullable or not."""
    right = name.strip().lower()
    record = {name if each == right else each: value for each, value in RECORD.items()}
    TYPES[name] = TYPES[right]
    said = _said(send(server, record))
    assert said.endswith(f'"{name}" is not "{right}": letter case and spaces matter'), said


def test_unicode_forms_are_explained(tmp_path: Path) -> None:
    """The message says if a category differs only in its Unicode form."""
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    word = msgspec.structs.replace(small.WORD, categories=[composed, "yes"], example=composed)
    small.write(
        tmp_path,
        small.onnx_bytes(small.YES, opset=19),
        small.manifest(
            small.onnx_bytes(small.YES, opset=19),
            word,
            answers=[("yes", 1.0)],
        ),
    )
    words = "in another Unicode form (NFD, expected NFC)"
    with InProcess(Repository.load(tmp_path)) as app:
        for response in (
            app.post("/api/predict", json={"x": decomposed}),
            app.post_bytes("/api/batch", f"x\n{decomposed}\n".encode()),
        ):
            assert response.status_code == 400
            assert response.json()["error"].endswith(words)


@pytest.mark.parametrize(
    ("datatype", "low", "high"),
    [
        ("INT8", -128, 127),
        ("INT16", -(2**15), 2**15 - 1),
        ("INT32", -(2**31), 2**31 - 1),
        ("INT64", -(2**63), 2**63 - 1),
        ("UINT8", 0, 255),
        ("UINT16", 0, 2**16 - 1),
        ("UINT32", 0, 2**32 - 1),
        ("UINT64", 0, 2**64 - 1),
    ],
)
def test_the_bounds_of_a_datatype_are_named(datatype: Any, low: int, high: int) -> None:  # noqa: ANN401 # a literal
    """An integer beyond its datatype's range is rejected with the limit that it exceeds."""
    column = Column.of(Feature(name="x", datatype=datatype, description="", example=1))
    assert column.fault(high + 1) == f"expected an integer of at most {high}; got {high + 1}"
    assert column.fault(low - 1) == f"expected an integer of at least {low}; got {low - 1}"
    assert column.fault("1 ") == 'expected an integer; got "1 "'
