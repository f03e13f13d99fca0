"""JSON Schemas of protobuf messages, by the JSON mapping of proto3."""

from collections.abc import Iterable
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from server.rest.openapi import schemas
from server.rest.openapi.operations import Document

_NUMBER: Final[Document] = {"type": ["number", "string"]}
_INTEGER: Final[Document] = {"type": ["integer", "string"]}
_SCALARS: Final[dict[int, Document]] = {
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_DOUBLE: _NUMBER,
    FieldDescriptor.CPPTYPE_FLOAT: _NUMBER,
    FieldDescriptor.CPPTYPE_INT32: _INTEGER,
    FieldDescriptor.CPPTYPE_INT64: _INTEGER,
    FieldDescriptor.CPPTYPE_UINT32: _INTEGER,
    FieldDescriptor.CPPTYPE_UINT64: _INTEGER,
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
}
"""Schemas of scalar types.

A number may be a string: the JSON mapping writes 64-bit integers as strings, and NaN and infinities by name.
"""


def schemas_of(messages: Iterable[Descriptor]) -> Document:
    """Return the schemas of messages and their nested messages, by full name."""
    message_schemas: Document = {}
    pending = [*messages]
    while pending:
        message = pending.pop()
        if message.full_name in message_schemas:
            continue
        message_schemas[message.full_name] = {
            "type": "object",
            "properties": {field.json_name: _field(field) for field in message.fields},
        }
        inner = [_value(field).message_type for field in message.fields]
        pending += [each for each in inner if each is not None]
    return message_schemas


def _field(field: FieldDescriptor) -> Document:
    value = _value(field)
    if value is not field:
        return {"type": "object", "additionalProperties": _element(value)}
    return {"type": "array", "items": _element(field)} if field.is_repeated else _element(field)


def _element(field: FieldDescriptor) -> Document:
    if field.message_type is not None:
        return schemas.ref(field.message_type.full_name)
    if field.enum_type is not None:
        return {"enum": [value.name for value in field.enum_type.values]}
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    return _SCALARS[field.cpp_type]


def _value(field: FieldDescriptor) -> FieldDescriptor:
    """Return the field itself, or the value field of a map."""
    message = field.message_type
    is_map = message is not None and message.GetOptions().map_entry
    return message.fields_by_name["value"] if message is not None and is_map else field
