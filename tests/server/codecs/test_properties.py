"""Properties of all requests, tested on generated ones: validation, robustness, independence of the batch."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.codecs.records import RecordDecoder
from server.errors import InvalidArgument
from server.models.manifest import Feature
from server.models.manifest import read as read_manifest
from server.models.repository import Repository
from server.models.signature import DTYPES, Signature
from tests.server.support import every
from tests.server.support.in_process import InProcess

MODELS: Final = Path(__file__).parents[3] / "models"
FEATURES: Final = tuple(read_manifest(MODELS / "titanic" / "1" / "manifest.json").features)
JSON_BOUND: Final = 2**63 - 1
"""Maximum JSON value of UINT64 features."""

brief = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)


@pytest.fixture(scope="module")
def client() -> Iterator[InProcess]:
    """Yield the app in this process."""
    with InProcess(Repository.load(MODELS)) as app:
        yield app


def _numbers(feature: Feature) -> st.SearchStrategy[Any]:
    """Return every number of the feature's datatype, often near its limits."""
    dtype = DTYPES[feature.datatype]
    limits = [limit for limit in (feature.minimum, feature.maximum) if limit is not None]
    if feature.is_float:
        near = [limit + step for limit in limits for step in (-0.5, 0.0, 0.5)]
        wide = st.floats(width=dtype.itemsize * 8, allow_nan=False, allow_infinity=False)  # type: ignore[arg-type] # 16, 32 or 64
        return st.one_of(wide, st.sampled_from(near)) if near else wide
    info = np.iinfo(dtype)
    every = st.integers(int(info.min), min(int(info.max), JSON_BOUND))
    close = st.integers(max(int(info.min), -3), min(int(info.max), 8))
    return st.one_of(every, close)


def _values(feature: Feature) -> st.SearchStrategy[Any]:
    """Return valid and invalid values of the feature's datatype.

    The null value itself is left out, because only tensors send it.
    """
    if feature.datatype == "BYTES":
        values: st.SearchStrategy[Any] = st.text(max_size=3).filter(lambda text: text != feature.null_value)
    elif feature.datatype == "BOOL":
        values = st.booleans()
    else:
        values = _numbers(feature)
    if feature.categories is not None:
        values = st.one_of(st.sampled_from(feature.categories), values)
    return st.one_of(values, st.none()) if feature.nullable else values


def _records(features: tuple[Feature, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({feature.name: _values(feature) for feature in features})


def _right(features: tuple[Feature, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Return valid records."""
    values = {}
    for feature in features:
        decodes = RecordDecoder(Signature([feature]), 1).decode
        values[feature.name] = _values(feature).filter(partial(_is_taken, decodes, feature.name))
    return st.fixed_dictionaries(values)


def _is_taken(decode: Callable[[bytes], object], name: str, value: object) -> bool:
    try:
        decode(json.dumps({name: value}).encode())
    except InvalidArgument:
        return False
    return True


@st.composite
def _features(draw: st.DrawFn) -> Feature:
    """Return a feature of any datatype, with or without a range, nullable or not."""
    datatype = draw(st.sampled_from(sorted(DTYPES)))
    ordered = datatype not in {"BOOL", "BYTES"}
    low = draw(st.sampled_from([None, 0, 1])) if ordered else None
    high = draw(st.sampled_from([None, 1, 5])) if ordered else None
    nullable = datatype.startswith("FP") and draw(st.booleans())
    some: list[str | int] = ["a", "b"]
    categories = some if datatype == "BYTES" and draw(st.booleans()) else None
    return Feature(
        name="x",
        datatype=datatype,  # type: ignore[arg-type] # one of Datatype
        description="",
        example=0,
        field_number=1,
        nullable=nullable,
        null_value="NaN" if nullable else None,
        minimum=low,
        maximum=high,
        categories=categories,
    )


def _decodes(signature: Signature, record: dict[str, Any]) -> bool:
    try:
        RecordDecoder(signature, 1).decode(json.dumps(record).encode())
    except InvalidArgument:
        return False
    return True


def _checks(signature: Signature, record: dict[str, Any]) -> bool:
    try:
        signature.check(signature.from_records([record]))
    except InvalidArgument:
        return False
    return True


def _assert_agreement(signature: Signature, record: dict[str, Any]) -> None:
    assert _decodes(signature, record) == _checks(signature, record)


@brief
@given(_records(FEATURES))
def test_records_and_columns_agree(record: dict[str, Any]) -> None:
    """A record is valid as JSON if and only if it is valid as columns."""
    _assert_agreement(Signature(FEATURES), record)


@brief
@given(st.data())
def test_records_and_columns_agree_for_any_feature(data: st.DataObject) -> None:
    """A value of any datatype is valid as JSON exactly if valid as a column."""
    feature = data.draw(_features())
    _assert_agreement(Signature([feature]), {"x": data.draw(_values(feature))})


_text: Final = st.text(st.characters(), max_size=5)  # includes lone surrogates
_names: Final = st.one_of(st.sampled_from(["records", "inputs", *(feature.name for feature in FEATURES)]), _text)
_scalars: Final = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _text)
_documents: Final = st.recursive(
    _scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_names, inner, max_size=4))
)


@st.composite
def _almost_right(draw: st.DrawFn) -> Any:  # noqa: ANN401 # any JSON
    """Return a valid body with one value replaced or added."""
    record = {feature.name: feature.example for feature in FEATURES} | {draw(_names): draw(_documents)}
    return draw(st.sampled_from([record, {"records": [record]}, {"records": [record], draw(_names): draw(_scalars)}]))


@brief
@given(st.one_of(_documents, _almost_right()))
def test_no_document_is_a_server_error(client: InProcess, document: object) -> None:
    """No JSON document gets a 5xx."""
    for path in ("/api/predict", "/v2/models/titanic/infer"):
        response = client.post_bytes(path, json.dumps(document).encode())
        assert response.status_code in {200, 400}, response.text


@st.composite
def _almost_right_tensors(draw: st.DrawFn) -> Any:  # noqa: ANN401 # any JSON
    """Return a valid inference request with one member of a tensor, or the outputs, replaced."""
    tensors: list[dict[str, Any]] = [
        {"name": feature.name, "shape": [1, 1], "datatype": feature.datatype, "data": [feature.example]}
        for feature in FEATURES
    ]
    member = draw(st.sampled_from(["name", "shape", "datatype", "data", "parameters"]))
    value = draw(st.one_of(st.lists(_documents, min_size=1, max_size=1), _documents))
    draw(st.sampled_from(tensors))[member] = value
    return {"inputs": tensors} | draw(st.one_of(st.just({}), st.dictionaries(st.just("outputs"), _documents)))


@brief
@given(_almost_right_tensors())
def test_no_inference_request_is_a_server_error(client: InProcess, document: object) -> None:
    """No inference request gets a 500."""
    response = client.post_bytes("/v2/models/titanic/infer", json.dumps(document).encode())
    assert response.status_code in {200, 400, 413, 501}, response.text


@brief
@given(st.binary(max_size=40))
def test_no_bytes_are_a_server_error(client: InProcess, body: bytes) -> None:
    """Random bytes are rejected as invalid JSON."""
    for path in ("/api/predict", "/v2/models/titanic/infer"):
        assert client.post_bytes(path, body).status_code == 400


@settings(parent=brief, max_examples=50)
@given(rows=st.lists(st.integers(0, 1308), min_size=1, max_size=40))
def test_any_company_gives_the_same_bits(client: InProcess, passengers: list[dict[str, Any]], rows: list[int]) -> None:
    """Any selection of rows, in any order and repeated, gets bit-identical results together and alone."""
    records = [passengers[row] for row in rows]
    together = client.post("/api/predict", {"records": records}).json()["predictions"]
    alone = [client.post("/api/predict", record).json() for record in records[:5]]
    assert [each["probabilities"] for each in together[:5]] == [each["probabilities"] for each in alone]


@pytest.fixture(scope="module")
def any_type(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """Yield the app with the model of every datatype."""
    root = tmp_path_factory.mktemp("models")
    every.load(root)
    with InProcess(Repository.load(root)) as app:
        yield app


def _as_query(record: dict[str, Any]) -> str:
    """Return a record as a query: nulls left out, strings unchanged, other values as JSON."""
    given = {name: value for name, value in record.items() if value is not None}
    return urlencode({name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()})


@brief
@given(_records(every.FEATURES), st.randoms())
def test_a_query_is_the_record(any_type: InProcess, record: dict[str, Any], order: Any) -> None:  # noqa: ANN401
    """Any record gets the same response as a query and as a body."""
    names = [*record]
    order.shuffle(names)
    asked = any_type.get(f"/api/predict?{_as_query({name: record[name] for name in names})}")
    posted = any_type.post("/api/predict", record)
    assert asked.status_code == posted.status_code
    assert asked.status_code == 400 or asked.content == posted.content


@brief
@given(st.data())
def test_a_query_of_one_feature_is_refused_as_the_record(any_type: InProcess, data: st.DataObject) -> None:
    """A value of any datatype gets the same response in query and body."""
    record = {name: values[0] for name, values in every.ROWS.items()}
    feature = data.draw(st.sampled_from(every.FEATURES))
    record[feature.name] = data.draw(_values(feature))
    asked, posted = any_type.get(f"/api/predict?{_as_query(record)}"), any_type.post("/api/predict", record)
    assert (asked.status_code, asked.content) == (posted.status_code, posted.content)


@brief
@given(_right(every.FEATURES), _right(every.FEATURES), st.data())
def test_a_tag_is_that_of_the_input(
    any_type: InProcess, one: dict[str, Any], other: dict[str, Any], data: st.DataObject
) -> None:
    """Two records have the same ETag exactly if the model gets the same input."""
    name = data.draw(st.sampled_from([*one]))
    other = data.draw(st.sampled_from([one, one | {name: other[name]}, other]))
    tags = [any_type.get(f"/api/predict?{_as_query(record)}").headers["etag"] for record in (one, other)]
    fed = [
        {
            each: (str(array.dtype), array.tolist() if array.dtype.kind == "O" else array.tobytes())
            for each, array in columns.items()
        }
        for columns in (Signature(every.FEATURES).from_records([record]) for record in (one, other))
    ]
    assert (tags[0] == tags[1]) == (fed[0] == fed[1])


@brief
@given(
    st.text(
        st.one_of(
            st.sampled_from("%&=+"),
            st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters="#"),
        )
    )
)
def test_no_query_is_a_server_error(client: InProcess, query: str) -> None:
    """Random query strings are rejected with 400."""
    response = client.get(httpx.URL("/api/predict", query=query.encode()))
    assert response.status_code == 400, response.text
