"""Detection of external data in ONNX models: no digest covers the files that hold it.

The code walks the model's protobuf encoding, so that onnxruntime never opens a model with external data, wherever the
tensor is: initializers, sparse initializers, attributes, subgraphs, functions, training information. Field numbers are
those of onnx.proto; the encoding is protobuf's ("Encoding", developers' guide).
"""

import re
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

from server.errors import ModelError
from server.models.manifest import MODEL_FILE

MAX_DEPTH: Final = 100
"""Maximum nesting depth of messages; protobuf's own decoders have the same limit of 100."""
_VARINT, _FIXED64, _BYTES, _START, _END, _FIXED32 = range(6)
_LARGEST_VARINT: Final = 10
_ELEMENTS: Final = re.compile(
    rb"(?:\x3d.{4})*+(?:\x40[\x80-\xff]{0,9}[\x00-\x7f])*+(?:\x4a(?:\x04.{4}|\x09.{9}|\x0a.{10}))*+", re.DOTALL
)
"""Elements of an attribute's floats and ints, and strings as long as LEAF, BRANCH_LT, BRANCH_LEQ.

Tree models have many such elements.
"""


class _Kind(Enum):
    """Messages that hold tensors, directly or nested."""

    MODEL = auto()
    TRAINING = auto()
    FUNCTION = auto()
    GRAPH = auto()
    NODE = auto()
    ATTRIBUTE = auto()
    SPARSE_TENSOR = auto()
    TENSOR = auto()


_NESTED_KINDS: Final[Mapping[_Kind, Mapping[int, _Kind]]] = {
    _Kind.MODEL: {7: _Kind.GRAPH, 20: _Kind.TRAINING, 25: _Kind.FUNCTION},
    _Kind.TRAINING: {1: _Kind.GRAPH, 2: _Kind.GRAPH},
    _Kind.FUNCTION: {7: _Kind.NODE, 11: _Kind.ATTRIBUTE},
    _Kind.GRAPH: {1: _Kind.NODE, 5: _Kind.TENSOR, 15: _Kind.SPARSE_TENSOR},
    _Kind.NODE: {5: _Kind.ATTRIBUTE},
    _Kind.ATTRIBUTE: {
        5: _Kind.TENSOR,
        6: _Kind.GRAPH,
        10: _Kind.TENSOR,
        11: _Kind.GRAPH,
        22: _Kind.SPARSE_TENSOR,
        23: _Kind.SPARSE_TENSOR,
    },
    _Kind.SPARSE_TENSOR: {1: _Kind.TENSOR, 2: _Kind.TENSOR},
    _Kind.TENSOR: {},
}
"""Field number to the message kind in that field, by containing kind."""
_NAME: Final = {_Kind.TENSOR: 8, _Kind.NODE: 3}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


class _Part(NamedTuple):
    """A message within the model's bytes."""

    kind: _Kind
    start: int
    end: int
    depth: int


def check_no_external_data(model: bytes) -> None:
    """Raise ModelError if a model has external data or is not valid protobuf.

    For external data, the message names the tensor.
    """
    parts = [_Part(_Kind.MODEL, 0, len(model), 0)]
    while parts:
        part = parts.pop()
        if part.depth > MAX_DEPTH:
            raise ModelError(f"{MODEL_FILE}: expected at most {MAX_DEPTH} nested messages")
        if part.kind is _Kind.TENSOR:
            _check_tensor(model, part)
            continue
        nested_kinds = _NESTED_KINDS[part.kind]
        for number, wire_type, start, end in _fields(model, part):
            kind = nested_kinds.get(number)
            if kind is not None and wire_type == _BYTES:
                parts.append(_Part(kind, start, end, part.depth + 1))


def _check_tensor(model: bytes, part: _Part) -> None:
    name, is_external = b"", False
    for number, wire_type, start, end in _fields(model, part):
        if number == _NAME[_Kind.TENSOR] and wire_type == _BYTES:
            name = model[start:end]
        elif number == _EXTERNAL_DATA or (number == _DATA_LOCATION and _varint(model, start, end)[0]):
            is_external = True
    if is_external:
        printable_name = name[:64].decode("utf-8", "replace")
        raise ModelError(f"{MODEL_FILE}: tensor {printable_name!r} is in another file: external data is not loaded")


def _fields(model: bytes, part: _Part) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field of a message: number, wire type, start and end of its value."""
    offset, stop = part.start, part.end
    skips_elements = part.kind is _Kind.ATTRIBUTE
    while offset < stop:
        if skips_elements and (elements := _ELEMENTS.match(model, offset, stop)) is not None:
            offset = elements.end()
            if offset == stop:
                return
        key, start = _varint(model, offset, stop)
        number, wire_type = (key & 0xFFFFFFFF) >> 3, key & 7
        if wire_type == _BYTES:
            size, start = _varint(model, start, stop)
            offset = start + size
        else:
            offset = _skip(model, number, wire_type, start, stop)
        if offset > stop:
            raise _malformed()
        yield number, wire_type, start, offset


def _skip(model: bytes, number: int, wire_type: int, start: int, stop: int) -> int:
    """Return the end of a value that is not length-delimited.

    A group (protobuf's old-style nesting) is walked to its end.
    """
    if wire_type == _VARINT:
        return _varint(model, start, stop)[1]
    if wire_type in {_FIXED64, _FIXED32}:
        return start + (8 if wire_type == _FIXED64 else 4)
    if wire_type != _START:
        raise _malformed()
    offset, open_groups = start, [number]
    while open_groups:
        key, offset = _varint(model, offset, stop)
        inner, wire_type = (key & 0xFFFFFFFF) >> 3, key & 7
        if wire_type == _START and len(open_groups) < MAX_DEPTH:
            open_groups.append(inner)
        elif wire_type == _END and inner == open_groups[-1]:
            open_groups.pop()
        elif wire_type == _BYTES:
            size, offset = _varint(model, offset, stop)
            offset += size
        else:
            offset = _skip(model, inner, _END if wire_type == _START else wire_type, offset, stop)
    return offset


def _varint(model: bytes, offset: int, stop: int) -> tuple[int, int]:
    """Return the number at `offset`, and the offset after it."""
    value = 0
    for shift in range(0, 7 * _LARGEST_VARINT, 7):
        if offset >= stop:
            raise _malformed()
        byte = model[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
    raise _malformed()


def _malformed() -> ModelError:
    return ModelError(f"{MODEL_FILE}: onnxruntime can't load it: its protobuf encoding is malformed")
