"""What every inference request is held to, whatever wire its tensors came by: names, datatypes, shapes, rows."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from server.errors import InvalidArgument, PayloadTooLarge
from server.feed import Values
from server.signature import Column, Signature


class Tensor(Protocol):
    """What the wires' own types of an input have in common."""

    @property
    def name(self) -> str:
        """Of the feature."""

    @property
    def datatype(self) -> str:
        """By the protocol's name."""

    @property
    def shape(self) -> Sequence[int]:
        """Expected: [rows, 1]."""


def check_names(inputs: Sequence[Tensor], signature: Signature) -> None:
    """Raise InvalidArgument for a tensor that is no feature, or given twice."""
    given = set()
    for tensor in inputs:
        name = tensor.name
        if name not in signature.by_name:
            name = name[:64]
            raise InvalidArgument(f"{name}: no such input; expected {', '.join(signature.by_name)}", field=name)
        if name in given:
            raise InvalidArgument(f"{name}: the input is given twice", field=name)
        given.add(name)


def check_datatype(tensor: Tensor, column: Column) -> None:
    """Raise InvalidArgument unless a tensor's datatype is its feature's."""
    if tensor.datatype != column.feature.datatype:
        words = f"{tensor.name}: expected datatype {column.feature.datatype}; got {tensor.datatype[:16]}"
        raise InvalidArgument(words, field=tensor.name)


def rows_of(inputs: Sequence[Tensor], max_rows: int) -> int:
    """Return how many rows all tensors have. Raises InvalidArgument for other shapes, PayloadTooLarge for too many."""
    if not inputs:
        raise InvalidArgument("inputs: expected at least one", field="inputs")
    rows = inputs[0].shape[0] if inputs[0].shape else 0
    for tensor in inputs:
        shape = tensor.shape
        if len(shape) != 2 or shape[1] != 1 or shape[0] < 1:
            got = f"{[*shape[:4]]}{' and more' * (len(shape) > 4)}"
            raise InvalidArgument(f"{tensor.name}: expected the shape [rows, 1]; got {got}", field=tensor.name)
        if shape[0] != rows:
            words = f"{tensor.name}: expected {rows} rows as in {inputs[0].name}; got {shape[0]}"
            raise InvalidArgument(words, field=tensor.name)
    check_rows(rows, max_rows)
    return rows


def check_rows(rows: int, max_rows: int) -> None:
    """Raise PayloadTooLarge for too many rows."""
    if rows > max_rows:
        raise PayloadTooLarge(f"inputs: expected at most {max_rows} rows, got {rows}", field="inputs")


def given_or_null(given: Mapping[str, Values], column: Column, rows: int) -> Values:
    """Return a feature's values, nulls where it was not given. Raises InvalidArgument where it may not be null."""
    name = column.feature.name
    if name in given:
        return given[name]
    if not column.feature.nullable:
        raise InvalidArgument(f"{name}: expected {column.expectation()}; there is no such input", field=name)
    return column.array([None] * rows).reshape(-1)
