"""Protobuf file descriptor of a model's typed service, generated from its manifest.

    lifeboat.<model>.v<api version>.<Model>Service: Predict, PredictBatch, PredictStream

The request's fields are the features, with the features' own field numbers; nullable features have presence. The
response's fields are those of the REST interface, with the same names.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodOptions,
    ServiceDescriptorProto,
)
from google.protobuf.message import Message

from server.models.manifest import PROTOBUF_TYPES, Feature, Manifest

REQUEST: Final = "PredictRequest"
RESPONSE: Final = "PredictResponse"
BATCH_REQUEST: Final = "PredictBatchRequest"
BATCH_RESPONSE: Final = "PredictBatchResponse"
PREDICTION: Final = "Prediction"

LABEL, PROBABILITY, PROBABILITIES, VALUE, MODEL, VERSION, PREDICTIONS = range(1, 8)
"""Field numbers of the response. Later versions must not reuse them for other fields."""

_TYPES: Final[Mapping[str, "FieldDescriptorProto.Type.ValueType"]] = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "string": FieldDescriptorProto.TYPE_STRING,
}
_NO_IDENTIFIER: Final = re.compile(r"[^A-Za-z0-9]+")
_NO_FIELD: Final = re.compile(r"[^A-Za-z0-9_]")
_NO_JSON_NAME: Final = re.compile(r"\0|\A\[.*\]\Z", re.DOTALL)
"""Names that protoc rejects as JSON names: names in brackets denote extensions."""

_PYTHON: Final = frozenset(dir(Message))


def package(manifest: Manifest) -> str:
    """Return the package of a model's service, for example lifeboat.titanic.v1."""
    name = _NO_IDENTIFIER.sub("_", manifest.name).strip("_").lower() or "model"
    return f"lifeboat.{name if name[0].isalpha() else f'm{name}'}.v{manifest.api_version}"


def service(manifest: Manifest) -> str:
    """Return the unqualified name of a model's service, for example TitanicService."""
    words = _NO_IDENTIFIER.sub(" ", manifest.name).split() or ["model"]
    name = "".join(word[0].upper() + word[1:] for word in words)
    return f"{name if name[0].isalpha() else f'M{name}'}Service"


def field_names(features: Iterable[Feature]) -> dict[str, str]:
    """Return the field name of each feature.

    The field name is the feature name, unless that is not an identifier or is taken. A name is taken if:

    - it differs from another field's name only in case and underscores: older compilers reject such names, newer ones
      reject names with the same camel case
    - it, or its JSON name, is another feature's name: JSON also accepts a field's own name
    - a Python message has an attribute of this name: the field would hide it
    - the feature is nullable, and the name of the oneof that states its presence is another feature's name
    """
    ordered = sorted(features, key=lambda each: each.field_number)
    feature_names = {feature.name for feature in ordered}
    names: dict[str, str] = {}
    used: set[str] = set()
    for feature in ordered:
        other_names = feature_names - {feature.name}
        name = _NO_FIELD.sub("_", feature.name)
        name = name if name[:1].isalpha() else f"f{name}"
        while _normalized(name) in used or name in _PYTHON or _is_ambiguous(feature, name, other_names):
            name = f"{name}_{feature.field_number}"
        used.add(_normalized(name))
        names[feature.name] = name
    return names


def _is_ambiguous(feature: Feature, field: str, others: set[str]) -> bool:
    """Return True if the field's name, JSON name or oneof name is another feature's name."""
    return bool({field, json_name(feature, field), _oneof(field) if feature.nullable else field} & others)


def _oneof(field: str) -> str:
    """Return the name of the oneof that states a field's presence."""
    return f"_{field}"


def json_name(feature: Feature, field: str) -> str:
    """Return the JSON name of a feature: its REST name, unless protobuf rejects it."""
    return default_json_name(field) if _NO_JSON_NAME.search(feature.name) else feature.name


def default_json_name(field: str) -> str:
    """Return the default JSON name of a field: lower camel case."""
    first, *rest = field.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def _normalized(field: str) -> str:
    return field.replace("_", "").lower()


def file(manifest: Manifest) -> FileDescriptorProto:
    """Return the file that declares the service and its messages."""
    package_name = package(manifest)
    file_proto = FileDescriptorProto(
        name=f"{package_name.replace('.', '/')}/service.proto", package=package_name, syntax="proto3"
    )
    file_proto.message_type.append(_request(manifest.features))
    prediction = DescriptorProto(name=PREDICTION)
    _add_prediction(prediction, manifest, package_name)
    response = DescriptorProto(name=RESPONSE)
    _add_prediction(response, manifest, package_name)
    _add_version(response)
    file_proto.message_type.append(response)
    batch_request = file_proto.message_type.add(name=BATCH_REQUEST)
    _add_messages(batch_request, "records", 1, f".{package_name}.{REQUEST}")
    batch_response = file_proto.message_type.add(name=BATCH_RESPONSE)
    _add_version(batch_response)
    _add_messages(batch_response, "predictions", PREDICTIONS, f".{package_name}.{PREDICTION}")
    file_proto.message_type.append(prediction)
    file_proto.service.append(_service(service(manifest), package_name))
    return file_proto


def _request(features: Iterable[Feature]) -> DescriptorProto:
    message = DescriptorProto(name=REQUEST)
    names = field_names(features)
    for feature in features:
        kind = _TYPES[PROTOBUF_TYPES[feature.datatype]]
        field = _add_field(message, names[feature.name], feature.field_number, kind)
        field.json_name = json_name(feature, field.name)
        if feature.nullable:  # presence is a oneof with one field (language guide, "Field Presence")
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=_oneof(field.name))
    return message


def _add_prediction(message: DescriptorProto, manifest: Manifest, package_name: str) -> None:
    """Add the fields of one prediction for the model's kind.

    They are the same as in `server.codecs.predictions`.
    """
    if manifest.kind == "regression":
        _add_field(message, "value", VALUE, FieldDescriptorProto.TYPE_DOUBLE)
        return
    label = _TYPES[PROTOBUF_TYPES[manifest.output("label").datatype]]
    if label == FieldDescriptorProto.TYPE_FLOAT:  # all fractional numbers of a response are doubles
        label = FieldDescriptorProto.TYPE_DOUBLE
    _add_field(message, "label", LABEL, label)
    if manifest.kind == "binary":
        _add_field(message, "probability", PROBABILITY, FieldDescriptorProto.TYPE_DOUBLE)
    entry = message.nested_type.add(name="ProbabilitiesEntry")
    entry.options.map_entry = True
    _add_field(entry, "key", 1, FieldDescriptorProto.TYPE_STRING)
    _add_field(entry, "value", 2, FieldDescriptorProto.TYPE_DOUBLE)
    _add_messages(message, "probabilities", PROBABILITIES, f".{package_name}.{message.name}.{entry.name}")


def _add_version(message: DescriptorProto) -> None:
    _add_field(message, "model", MODEL, FieldDescriptorProto.TYPE_STRING)
    _add_field(message, "version", VERSION, FieldDescriptorProto.TYPE_STRING)


def _add_field(
    message: DescriptorProto, name: str, number: int, kind: "FieldDescriptorProto.Type.ValueType"
) -> FieldDescriptorProto:
    return message.field.add(
        name=name, number=number, type=kind, label=FieldDescriptorProto.LABEL_OPTIONAL, json_name=name
    )


def _add_messages(message: DescriptorProto, name: str, number: int, type_name: str) -> None:
    field = _add_field(message, name, number, FieldDescriptorProto.TYPE_MESSAGE)
    field.label = FieldDescriptorProto.LABEL_REPEATED
    field.type_name = type_name


def _service(name: str, package_name: str) -> ServiceDescriptorProto:
    file_proto = ServiceDescriptorProto(name=name)
    for method, request, response in (
        ("Predict", REQUEST, RESPONSE),
        ("PredictBatch", BATCH_REQUEST, BATCH_RESPONSE),
        ("PredictStream", BATCH_REQUEST, RESPONSE),
    ):
        added_method = file_proto.method.add(
            name=method, input_type=f".{package_name}.{request}", output_type=f".{package_name}.{response}"
        )
        if method == "PredictStream":
            added_method.server_streaming = True
        else:
            added_method.options.idempotency_level = MethodOptions.NO_SIDE_EFFECTS
    return file_proto
