"""Types of an Open Inference Protocol request, as decoded and as checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from server.errors import InvalidArgument, Unimplemented
from server.models.quoting import quoted_name, quoted_value
from server.models.signature import Values

SHARED_MEMORY: Final = "shared_memory_region"
_MAX_PARAMETER: Final = 2**64 - 1
"""Largest priority or timeout: the protocol's type of `priority` is uint64. A timeout in microseconds is no larger."""
Parameters = dict[str, bool | int | float | str]
"""Parameters of a request or a tensor, in the protocol's types."""


class InferInput(msgspec.Struct, kw_only=True):
    """One input tensor of a request, with `data` flat, nested or binary.

    Nested data has the tensor's shape. Binary data follows the JSON; `data` is then empty. `data` is decoded separately
    from the rest: decoding a million values takes 0.2 s.
    """

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: Parameters | None = None


class InferOutput(msgspec.Struct, kw_only=True):
    """One output that a request names."""

    name: str
    parameters: Parameters | None = None


class Request(msgspec.Struct, kw_only=True):
    """Fields of an inference request except its tensors."""

    id: str | None = None
    outputs: list[InferOutput] | None = None
    parameters: Parameters | None = None


class InferRequest(Request, kw_only=True):
    """The body of an inference request with any tensors."""

    inputs: list[InferInput]


def check_shared_memory(name: str, parameters: Mapping[str, object] | None) -> None:
    """Raise Unimplemented for a tensor in memory shared between client and server."""
    if parameters and SHARED_MEMORY in parameters:
        raise Unimplemented(f"{quoted_name(name)}: there is no shared memory here; expected the tensor in the message")


@dataclass(slots=True)
class DecodedInferRequest:
    """A checked request: a column of `rows` values for each feature, and response options."""

    columns: Sequence[Values]
    rows: int
    id: str | None = None
    outputs: Sequence[InferOutput] | None = None
    parameters: Parameters | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument for an invalid priority or timeout."""
        parameters = self.parameters or {}
        for name in ("priority", "timeout") if parameters else ():
            value = parameters.get(name, 0)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_PARAMETER:
                message = f"{name}: expected a whole number from 0 to 2^64 - 1; got {quoted_value(value)}"
                raise InvalidArgument(message, field="parameters")

    @property
    def timeout_s(self) -> float | None:
        """Client's timeout in seconds: Triton's `timeout` is in microseconds, 0 for none."""
        timeout_us = (self.parameters or {}).get("timeout", 0)
        return float(timeout_us) / 1e6 if timeout_us else None
