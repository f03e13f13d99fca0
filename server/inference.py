"""An Open Inference Protocol request, as its JSON says it and as it is checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from server.errors import InvalidArgument, Unimplemented
from server.feed import Values

SHARED_MEMORY: Final = "shared_memory_region"
Parameters = dict[str, bool | int | float | str]
"""What the protocol allows as the parameters of a request or a tensor."""


class InferInput(msgspec.Struct, kw_only=True):
    """One tensor of a request; `data` may be nested as the shape says, or flat, or follow the JSON as binary data."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET
    parameters: Parameters | None = None


class InferOutput(msgspec.Struct, kw_only=True):
    """One output that the caller asks for."""

    name: str
    parameters: Parameters | None = None


class Request(msgspec.Struct, kw_only=True):
    """What the body of an inference request holds beside its tensors."""

    id: str | None = None
    outputs: list[InferOutput] | None = None
    parameters: Parameters | None = None


class InferRequest(Request, kw_only=True):
    """The body of an inference request, of whatever tensors."""

    inputs: list[InferInput]


def check_place(name: str, parameters: Mapping[str, object] | None) -> None:
    """Raise Unimplemented for a tensor that its caller has put, or wants, in memory that is shared with the server."""
    if parameters and SHARED_MEMORY in parameters:
        raise Unimplemented(f"{name}: there is no shared memory here; expected the tensor in the message")


@dataclass(slots=True)
class Inference:
    """A request, checked: a column of `rows` values for each feature, and what the caller says of the answer."""

    columns: Sequence[Values]
    rows: int
    id: str | None = None
    outputs: Sequence[InferOutput] | None = None
    parameters: Parameters | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a priority or a timeout that is none."""
        parameters = self.parameters or {}
        for name in ("priority", "timeout") if parameters else ():
            value = parameters.get(name, 0)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise InvalidArgument(f"{name}: expected a whole number; got {str(value)[:40]}", field="parameters")

    @property
    def timeout_s(self) -> float | None:
        """How long the caller waits: Triton's `timeout`, in microseconds; 0 is none."""
        timeout_us = (self.parameters or {}).get("timeout", 0)
        return float(timeout_us) / 1e6 if timeout_us else None
