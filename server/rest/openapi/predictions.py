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
    explained = schemas.explained_records(model.manifest, settings)
    explain = {f"{root}/explain": {"post": _explain(model, examples)}} if explained else {}
    return explain | {
        f"{root}/predict": {"get": _query(model, settings, examples), "post": _predict(model, examples)},
        f"{root}/batch": {"post": batch, "put": batch},
    }


def _predict(model: Model, examples: Examples) -> Document:
    """Return the operation that predicts for records."""
    given = {"record": examples.record, "records": {RECORDS: examples.records}}
    taken = body(_one_or_several(model, "Record", "Records"), given)
    answer = ok(_one_or_several(model, "Answer", "Answers"), examples.answers)
    answer["responses"]["400"] = _refused(examples)
    return operation(PREDICTIONS, f"Predict {model.manifest.target}", {"requestBody": taken} | answer, RUN)


def _explain(model: Model, examples: Examples) -> Document:
    """Return the operation that explains the predictions for records."""
    taken = body(_one_or_several(model, "Record", "RecordsToExplain"), {"record": examples.record})
    answer = ok(_one_or_several(model, "Explanation", "Explanations"), {"record": examples.explained})
    words = f"Predict {model.manifest.target}, with the contribution of each feature"
    return operation(EXPLANATIONS, words, {"requestBody": taken} | answer, (*RUN, 499, 501))


def _one_or_several(model: Model, one: str, several: str) -> Document:
    title = schemas.title_of(model.manifest)
    return {"oneOf": [schemas.ref(f"{title}{one}"), schemas.ref(f"{title}{several}")]}


def _refused(examples: Examples) -> Document:
    """Return the 400 response, with an invalid record as its example."""
    wrong, envelope = examples.refused
    example = {"summary": "an invalid value", "value": envelope, "x-request": wrong}
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
    answer = ok(schemas.ref(f"{title}Answer"), {"record": examples.answers["record"]})
    kept = {
        "ETag": {"schema": TEXT, "description": "equal for equal inputs"},
        "Cache-Control": {"schema": TEXT, "description": "how long the response may be cached"},
    }
    answer["responses"]["200"]["headers"] = kept
    answer["responses"]["304"] = {"description": "Not modified: the ETag matches If-None-Match", "headers": kept}
    words = f"Predict {model.manifest.target} for one record in the query; the response is cacheable"
    return operation(PREDICTIONS, words, answer, _QUERY, parameters=parameters)


_FORM: Final[Document] = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": BINARY | {"description": "One file in any of the formats, and no other field"}},
}


def _batch(model: Model, examples: Examples) -> Document:
    """Return the operation that scores files."""
    given: Document = {file_format.media_type: {"schema": BINARY} for file_format in FILE_FORMATS}
    answered = dict(given)
    for file_format, (file, scored) in examples.files.items():
        given |= content(BINARY, {file_format.name: file}, file_format.media_type)
        answered |= content(BINARY, {file_format.name: scored}, file_format.media_type)
    given["multipart/form-data"] = {"schema": _FORM}
    members: dict[str, Any] = {
        "description": "The file may have any of the formats; the response has the same format, or that of `Accept`. "
        "`Content-Encoding` may be gzip or zstd. If the connection ends early, the response is incomplete.",
        "requestBody": {"required": True, "content": given},
        "responses": {"200": {"description": "Each row, followed by its prediction", "content": answered}},
    }
    parameters = [
        {"name": name, "in": "query", "description": words, "schema": schema} for name, words, schema in _PARAMETERS
    ]
    words = f"Score a file of rows: adds predicted_{model.manifest.target}"
    return operation(FILES, words, members, (*RUN, 499), parameters=parameters)
