"""Check names, datatypes, shapes and rows of an inference request, for every interface."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from server.errors import InvalidArgument, PayloadTooLarge
from server.models.quoting import field_name, quoted, quoted_name, quoted_names, quoted_value, spelling_hint
from server.models.signature import Column, Signature, Values

CONTENT_TYPE: Final = "content_type"
"""MLServer's parameter that names the codec of a tensor."""
_BASE64: Final = "base64"


class Tensor(Protocol):
    """Common attributes of the interfaces' input tensor types."""

    @property
    def name(self) -> str:
        """Name of the feature."""

    @property
    def datatype(self) -> str:
        """Datatype by the protocol's name."""

    @property
    def shape(self) -> Sequence[int]:
        """Shape; expected: [rows, 1]."""


def check_names(inputs: Sequence[Tensor], signature: Signature) -> None:
    """Raise InvalidArgument for a tensor that is not a feature, or is repeated."""
    names = set()
    for tensor in inputs:
        name = tensor.name
        if name not in signature.by_name:
            expected = f"expected {quoted_names(signature.by_name)}{spelling_hint(name, signature.by_name)}"
            raise InvalidArgument(f"{quoted_name(name)}: no such input; {expected}", field=field_name(name))
        if name in names:
            raise InvalidArgument(f"{name}: expected once; it is given more than once", field=name)
        names.add(name)


def check_datatype(tensor: Tensor, column: Column) -> None:
    """Raise InvalidArgument unless a tensor's datatype is its feature's."""
    if tensor.datatype != column.feature.datatype:
        message = f"{tensor.name}: expected datatype {column.feature.datatype}; got {quoted(tensor.datatype, 16)}"
        raise InvalidArgument(message, field=tensor.name)


def rows_of(inputs: Sequence[Tensor], max_rows: int) -> int:
    """Return the number of rows that all tensors have, in shape [rows, 1] or [rows].

    The shape [rows] is unambiguous, so it is accepted. Raises InvalidArgument for other shapes, PayloadTooLarge for too
    many rows.
    """
    if not inputs:
        raise InvalidArgument("inputs: expected at least one", field="inputs")
    rows = inputs[0].shape[0] if inputs[0].shape else 0
    for tensor in inputs:
        shape = tensor.shape
        if len(shape) not in {1, 2} or [*shape[1:]] not in ([], [1]) or shape[0] < 0:
            got = f"{[*shape[:4]]}{' and more' * (len(shape) > 4)}"
            raise InvalidArgument(
                f"{tensor.name}: expected the shape [rows, 1] or [rows]; got {got}", field=tensor.name
            )
        if shape[0] != rows:
            message = f"{tensor.name}: expected {rows} rows as in {inputs[0].name}; got {shape[0]}"
            raise InvalidArgument(message, field=tensor.name)
    check_rows(rows, max_rows)
    return rows


def check_rows(rows: int, max_rows: int) -> None:
    """Raise PayloadTooLarge for too many rows."""
    if rows > max_rows:
        raise PayloadTooLarge(f"inputs: expected at most {max_rows} rows, got {rows}", field="inputs")


def is_base64(name: str, parameters: Mapping[str, object] | None, *, is_raw: bool) -> bool:
    """Return whether a tensor's strings are base64, by MLServer's `content_type` parameter.

    Raises InvalidArgument if the values are raw bytes, which need no such codec.
    """
    if not parameters or parameters.get(CONTENT_TYPE) != _BASE64:
        return False
    if is_raw:
        message = f"{CONTENT_TYPE}: expected no {_BASE64} in binary data"
        raise InvalidArgument(f"{quoted_name(name)}: {message}", field=field_name(name))
    return True


def from_base64(name: str, values: Sequence[Any]) -> list[Any]:
    """Return the decoded base64 strings. Raises InvalidArgument, naming the row at fault."""
    decoded: list[Any] = []
    for row, value in enumerate(values):
        try:
            decoded.append(b64decode(value, validate=True).decode() if isinstance(value, str | bytes) else value)
        except ValueError:
            message = f"row {row}: expected base64 of UTF-8, as {CONTENT_TYPE} states; got {quoted_value(value)}"
            raise InvalidArgument(f"{quoted_name(name)}: {message}", field=field_name(name)) from None
    return decoded


def values_or_nulls(values_by_name: Mapping[str, Values], column: Column, rows: int) -> Values:
    """Return a feature's values; nulls if the input is absent.

    Raises InvalidArgument if the feature is not nullable.
    """
    name = column.feature.name
    if name in values_by_name:
        return values_by_name[name]
    if not column.feature.nullable:
        raise InvalidArgument(f"{name}: expected {column.expectation()}; there is no such input", field=name)
    return column.array([None] * rows).reshape(-1)
