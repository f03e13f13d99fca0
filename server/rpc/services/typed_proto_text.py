"""Text of a typed service's .proto file, with comments from the manifest."""

from collections.abc import Iterator, Mapping
from typing import Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, MethodOptions

from server.models.manifest import Feature, Manifest
from server.models.signature import Column
from server.rpc.services import typed_descriptor

_SCALARS: Final[Mapping[int, str]] = {
    value: name.removeprefix("TYPE_").lower() for name, value in FieldDescriptorProto.Type.items()
}
_WORDS: Final[Mapping[str, str]] = {
    "label": "The most likely class.",
    "probability": "Probability of the positive class, whatever the label is.",
    "probabilities": "Probability of each class, by class name.",
    "value": "The predicted value.",
    "model": "Name of the model.",
    "version": "Version of the model.",
    "records": "At least one record.",
    "predictions": "One prediction for each record, in their order.",
}
"""Comments on the fields that are not features."""
_METHODS: Final[Mapping[str, str]] = {
    "Predict": "Predicts for one record.",
    "PredictBatch": "Predicts for all records together; one invalid record rejects all of them.",
    "PredictStream": "Predicts for the records one by one, in order; each prediction is sent when it is computed.",
}


def text(manifest: Manifest) -> str:
    """Return the text of the .proto file for a model's typed service."""
    file_proto = typed_descriptor.file(manifest)
    return "\n".join(_lines(file_proto, manifest)) + "\n"


def _lines(file_proto: FileDescriptorProto, manifest: Manifest) -> Iterator[str]:
    yield from _comment(f"Made from the manifest of model {manifest.name}, version {manifest.version}.", "")
    yield 'syntax = "proto3";'
    yield ""
    yield f"package {file_proto.package};"
    for service in file_proto.service:
        yield ""
        yield from _comment(manifest.description, "")
        yield f"service {service.name} {{"
        for method in service.method:
            yield from _comment(_METHODS[method.name], "  ")
            stream = "stream " if method.server_streaming else ""
            request, response = _unqualified(method.input_type), _unqualified(method.output_type)
            head = f"  rpc {method.name}({request}) returns ({stream}{response})"
            if method.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS:
                yield f"{head} {{"
                yield "    option idempotency_level = NO_SIDE_EFFECTS;"
                yield "  }"
            else:
                yield f"{head};"
        yield "}"
    features = {feature.field_number: feature for feature in manifest.features}
    for message in file_proto.message_type:
        yield ""
        yield f"message {message.name} {{"
        for field in message.field:
            feature = features[field.number] if message.name == typed_descriptor.REQUEST else None
            yield from _comment(_WORDS[field.name] if feature is None else _feature_comment(feature), "  ")
            yield f"  {_declaration(field, message)}"
        yield "}"


def _declaration(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    name = (
        ""
        if field.json_name == typed_descriptor.default_json_name(field.name)
        else f' [json_name = "{_escaped(field.json_name)}"]'
    )
    return f"{_kind(field, message)} {field.name} = {field.number}{name};"


def _kind(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    if field.type != FieldDescriptorProto.TYPE_MESSAGE:
        return f"{'optional ' if field.proto3_optional else ''}{_SCALARS[field.type]}"
    for entry in message.nested_type:
        if _unqualified(field.type_name) == entry.name:
            key, value = entry.field
            return f"map<{_SCALARS[key.type]}, {_SCALARS[value.type]}>"
    return f"repeated {_unqualified(field.type_name)}"


def _feature_comment(feature: Feature) -> str:
    """Return the comment on a feature: its meaning, allowed values and an example."""
    expected = Column.of(feature).expectation()
    return f"{feature.description} Expected: {expected}{' (omitted)' * feature.nullable}. Example: {feature.example}."


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in text.replace("\0", "\N{REPLACEMENT CHARACTER}").splitlines():  # a NUL would end the comment
        yield f"{indent}// {line}".rstrip()


def _unqualified(name: str) -> str:
    return name.rpartition(".")[2]


def _escaped(name: str) -> str:
    """Escape a name for a protobuf string literal."""
    return "".join(f"\\{ord(each):03o}" if each in '\\"\x7f' or each < " " else each for each in name)
