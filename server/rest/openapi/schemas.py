"""JSON Schemas of a model's inputs and outputs, derived from its manifest."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from server.codecs.json_types import INT64_MAX
from server.codecs.query import empty_is_null
from server.errors import CODES
from server.models.manifest import Manifest
from server.models.session import Model
from server.models.signature import Column
from server.settings import Settings

Document = dict[str, Any]

PARAMETERS: Final[Document] = {
    "type": ["object", "null"],
    "additionalProperties": {"type": ["boolean", "integer", "number", "string"]},
}


def of_model(model: Model, settings: Settings) -> Document:
    """Return the schemas of the records and predictions of a model."""
    manifest, title = model.manifest, title_of(model.manifest)
    several = {"type": "array", "minItems": 1, "maxItems": settings.max_rows, "items": ref(f"{title}Record")}
    prediction = _prediction(manifest)
    version_members = {"model": {"const": model.name}, "version": {"const": model.version}}
    predictions = {"type": "array", "items": closed_object(prediction)}
    return _explanation_schemas(manifest, settings, several, version_members) | {
        f"{title}Record": record(model, settings),
        f"{title}Records": closed_object({"records": several}),
        f"{title}Answer": closed_object(version_members | prediction),
        f"{title}Answers": closed_object(version_members | {"predictions": predictions}),
    }


def record(model: Model, settings: Settings) -> Document:
    """Return the schema of one record of a model."""
    columns = model.signature.columns
    return closed_object(
        {each.feature.name: _value(each, settings, nullable=each.feature.nullable) for each in columns},
        [column.feature.name for column in columns if not column.feature.nullable],
    )


def parameter(column: Column, settings: Settings) -> Document:
    """Return the query parameter of a feature. An omitted or empty parameter means null."""
    feature = column.feature
    schema = _value(column, settings, nullable=feature.nullable and feature.datatype != "BYTES")
    parameter_members = {"description": schema.pop("description"), "schema": schema}
    may_be_empty = {"allowEmptyValue": True} if empty_is_null(column) else {}
    return {"name": feature.name, "in": "query", "required": not feature.nullable, **parameter_members, **may_be_empty}


def _value(column: Column, settings: Settings, *, nullable: bool) -> Document:
    """Return the schema of exactly the JSON values that a column accepts. It includes null if `nullable`."""
    feature = column.feature
    schema: Document = {"description": feature.description, "examples": [feature.example]}
    if feature.categories is not None:
        return schema | {"enum": [*feature.categories, *([None] if nullable else [])]}
    kind, limits = "number", {"minimum": column.low, "maximum": column.high}
    if feature.datatype == "BYTES":
        kind, limits = "string", {"maxLength": settings.max_string_bytes // 4}  # characters, up to four bytes each
    elif feature.datatype == "BOOL":
        kind, limits = "boolean", {}
    elif not feature.is_float:
        kind, limits["maximum"] = "integer", min(int(column.high or 0), INT64_MAX)
    return schema | {"type": [kind, "null"] if nullable else kind} | limits


def _prediction(manifest: Manifest) -> Document:
    """Return the members of one prediction, as `server.codecs.predictions` encodes them."""
    if manifest.kind == "regression":
        return {"value": {"type": ["number", "null"]}}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    is_text = manifest.output("label").datatype == "BYTES"
    labels = manifest.classes if is_text else [int(name) for name in manifest.classes]
    members = {"label": {"enum": labels}, "probabilities": closed_object(dict.fromkeys(manifest.classes, share))}
    return members | ({"probability": share} if manifest.kind == "binary" else {})


def explained_records(manifest: Manifest, settings: Settings) -> int:
    """Return the maximum number of records in one explanation request; 0 without explanations."""
    rows = manifest.explained_rows
    return min(settings.max_rows, settings.max_explain_rows // rows) if rows else 0


def _explanation_schemas(
    manifest: Manifest, settings: Settings, records: Document, version_members: Document
) -> Document:
    """Return the schemas of explanations, if the model has them. `records` is the schema of predict records."""
    max_records = explained_records(manifest, settings)
    if not max_records:
        return {}
    number: Document = {"type": ["number", "null"] if manifest.kind == "regression" else "number"}
    base, shares = number, closed_object({feature.name: number for feature in manifest.features})
    if manifest.kind == "multiclass":
        base, shares = (closed_object(dict.fromkeys(manifest.classes, each)) for each in (base, shares))
    explanation = _prediction(manifest) | {"base": base, "contributions": shares}
    title = title_of(manifest)
    several = {"type": "array", "items": closed_object(explanation)}
    return {
        f"{title}RecordsToExplain": closed_object({"records": records | {"maxItems": max_records}}),
        f"{title}Explanation": closed_object(version_members | explanation),
        f"{title}Explanations": closed_object(version_members | {"explanations": several}),
    }


def infer_request(settings: Settings) -> Document:
    """Return the schema of an Open Inference Protocol request, for any model."""
    data = {"type": "array", "maxItems": settings.max_rows}
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string"},
            "data": data,
            "parameters": PARAMETERS,
        },
    }
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "parameters": PARAMETERS},
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": PARAMETERS,
            "inputs": {"type": "array", "minItems": 1, "items": tensor},
            "outputs": {"type": ["array", "null"], "items": output},
        },
    }


def error() -> Document:
    """Return the schema of the error envelope."""
    schema = closed_object({"error": {"type": "string"}, "code": {"enum": list(CODES)}, "field": {"type": "string"}})
    return schema | {"required": ["error", "code"]}


def drift() -> Document:
    """Return the schema of a drift report."""
    share = {"type": "number", "minimum": 0, "maximum": 1}
    share_pair = closed_object({"expected": share, "actual": share})
    members = {
        "psi": {"type": ["number", "null"], "minimum": 0},
        "expected": {"type": "array", "items": share},
        "actual": {"type": "array", "items": share},
        "edges": {"type": "array", "items": {"type": "number"}},
        "categories": {"type": "array", "items": {"type": ["string", "integer", "boolean"]}},
        "other": share_pair,
        "nulls": share_pair,
    }
    distribution = closed_object(members, ["psi", "expected", "actual"])
    non_negative_integer = {"type": "integer", "minimum": 0}
    return closed_object(
        {
            "model": {"type": "string"},
            "version": {"type": "string"},
            "of": {"enum": ["requests", "files"]},
            "rows": non_negative_integer,
            "min_rows": non_negative_integer,
            "reference_rows": non_negative_integer,
            "window_s": non_negative_integer,
            "features": {"type": "object", "additionalProperties": distribution},
            "answer": distribution,
        }
    )


def closed_object(properties: Mapping[str, Any], required: Sequence[str] | None = None) -> Document:
    """Return the schema of an object with exactly these members, all required by default."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties) if required is None else list(required),
        "additionalProperties": False,
    }


def ref(name: str) -> Document:
    """Return a reference to one of the document's schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def title_of(manifest: Manifest) -> str:
    """Return the prefix of the schema names of a model version."""
    return f"{manifest.name}.{manifest.version}."
