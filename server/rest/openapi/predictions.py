"""OpenAPI paths of predictions and batches: for the default model, each model, version and label."""

from collections.abc import Sequence
from typing import Any, Final

from server.batch.options import ALL, ON_ERROR
from server.codecs.records import RECORDS
from server.codecs.tables.media_types import FILE_FORMATS
from server.http.message import JSON
from server.models.session import Model
from server.rest.openapi import schemas
from server.rest.openapi.examples import Examples
from server.rest.openapi.operations import (
    ANY,
    BINARY,
    EXPLANATIONS,
    FILES,
    PREDICTIONS,
    RUN,
    TEXT,
    Document,
    body,
    content,
    ok,
    operation,
)
from server.settings import Settings

_PARAMETERS: Final[Sequence[tuple[str, str, Document]]] = (
    (
        "columns",
        "the input columns to copy to the response: all, none, or names separated by commas",
        {"type": "string", "default": ALL},
    ),
    (
        "on_error",
        "how to handle a row that can't be scored: end the file, give it no prediction, or omit it",
        {"enum": list(ON_ERROR), "default": ON_ERROR[0]},
    ),
    ("delimiter", "the delimiter of a CSV file", {"type": "string", "minLength": 1}),
    (
        "decimal",
        "the decimal separator of CSV, in the request and in the response",
        {"enum": [".", ",", "point", "comma"]},
    ),
    ("null", "spellings of null in CSV besides an empty field, separated by commas", {"type": "string"}),
    ("summary", "with last, CSV and NDJSON end with a record of the row counts", {"enum": ["none", "last"]}),
)
_QUERY: Final = (400, 404, 413, 429, 504, *ANY)


def paths(root: str, model: Model, settings: Settings, examples: Examples) -> Document:
    """Return the paths below `root` where `model` takes records and files."""
    batch = _batch(model, examples)
    max_records = schemas.explained_records(model.manifest, settings)
    explain = {f"{root}/explain": {"post": _explain(model, examples)}} if max_records else {}
    return explain | {
        f"{root}/predict": {"get": _query(model, settings, examples), "post": _predict(model, examples)},
        f"{root}/batch": {"post": batch, "put": batch},
    }


def _predict(model: Model, examples: Examples) -> Document:
    """Return the operation that predicts for records."""
    request_examples = {"record": examples.record, "records": {RECORDS: examples.records}}
    request_body = body(_one_or_several(model, "Record", "Records"), request_examples)
    members = ok(_one_or_several(model, "Answer", "Answers"), examples.responses)
    members["responses"]["400"] = _invalid_record_response(examples)
    return operation(PREDICTIONS, f"Predict {model.manifest.target}", {"requestBody": request_body} | members, RUN)


def _explain(model: Model, examples: Examples) -> Document:
    """Return the operation that explains the predictions for records."""
    request_body = body(_one_or_several(model, "Record", "RecordsToExplain"), {"record": examples.record})
    members = ok(_one_or_several(model, "Explanation", "Explanations"), {"record": examples.explanation})
    summary = f"Predict {model.manifest.target}, with the contribution of each feature"
    return operation(EXPLANATIONS, summary, {"requestBody": request_body} | members, (*RUN, 499, 501))


def _one_or_several(model: Model, one: str, several: str) -> Document:
    title = schemas.title_of(model.manifest)
    return {"oneOf": [schemas.ref(f"{title}{one}"), schemas.ref(f"{title}{several}")]}


def _invalid_record_response(examples: Examples) -> Document:
    """Return the 400 response, with an invalid record as its example."""
    invalid_record, envelope = examples.rejected
    example = {"summary": "an invalid value", "value": envelope, "x-request": invalid_record}
    return {
        "description": "invalid_argument (400): the invalid field, and the expected value",
        "content": {JSON: {"schema": schemas.ref("Error"), "examples": {"wrong": example}}},
    }


def _query(model: Model, settings: Settings, examples: Examples) -> Document:
    """Return the operation that predicts for one record in the query."""
    parameters = [schemas.parameter(column, settings) for column in model.signature.columns]
    for parameter in parameters:
        value = examples.record.get(parameter["name"])
        if value is not None:
            parameter["examples"] = {"record": {"value": value}}
    title = schemas.title_of(model.manifest)
    members = ok(schemas.ref(f"{title}Answer"), {"record": examples.responses["record"]})
    cache_headers = {
        "ETag": {"schema": TEXT, "description": "equal for equal inputs"},
        "Cache-Control": {"schema": TEXT, "description": "how long the response may be cached"},
    }
    members["responses"]["200"]["headers"] = cache_headers
    members["responses"]["304"] = {
        "description": "Not modified: the ETag matches If-None-Match",
        "headers": cache_headers,
    }
    summary = f"Predict {model.manifest.target} for one record in the query; the response is cacheable"
    return operation(PREDICTIONS, summary, members, _QUERY, parameters=parameters)


_FORM: Final[Document] = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": BINARY | {"description": "One file in any of the formats, and no other field"}},
}


def _batch(model: Model, examples: Examples) -> Document:
    """Return the operation that scores files."""
    request_content: Document = {file_format.media_type: {"schema": BINARY} for file_format in FILE_FORMATS}
    response_content = dict(request_content)
    for file_format, (file, scored) in examples.files.items():
        request_content |= content(BINARY, {file_format.name: file}, file_format.media_type)
        response_content |= content(BINARY, {file_format.name: scored}, file_format.media_type)
    request_content["multipart/form-data"] = {"schema": _FORM}
    members: dict[str, Any] = {
        "description": "The file may have any of the formats; the response has the same format, or that of `Accept`. "
        "`Content-Encoding` may be gzip or zstd. If the connection ends early, the response is incomplete.",
        "requestBody": {"required": True, "content": request_content},
        "responses": {"200": {"description": "Each row, followed by its prediction", "content": response_content}},
    }
    parameters = [
        {"name": name, "in": "query", "description": description, "schema": schema}
        for name, description, schema in _PARAMETERS
    ]
    summary = f"Score a file of rows: adds predicted_{model.manifest.target}"
    return operation(FILES, summary, members, (*RUN, 499), parameters=parameters)
