"""RPC errors: the sixteen codes, and the mapping from the error table to them."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final

import msgspec
from google.protobuf.message import Message

from server.errors import CODES, RequestError, ResourceExhausted, Unavailable
from server.http.request_context import note

TYPE_URL: Final = "type.googleapis.com/"


class Code(IntEnum):
    """The sixteen error codes of a call, with their gRPC numbers."""

    CANCELED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def label(self) -> str:
        """Name of the code in a Connect error."""
        return self.name.lower()


HTTP_STATUS: Final[Mapping[Code, int]] = {
    Code.CANCELED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
"""HTTP status of a unary Connect error response by code (Connect, "Error Codes")."""


class Detail(msgspec.Struct, frozen=True):
    """One error detail: the full name of a protobuf message and its binary encoding."""

    type_name: str
    value: bytes


class RpcError(Exception):
    """Error of a call, as sent to the client.

    `headers`, such as retry-after, are added to the metadata of the response.
    """

    def __init__(
        self, code: Code, message: str = "", details: Sequence[Detail] = (), headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.headers = headers


def detail(message: Message) -> Detail:
    """Return a protobuf message as an error detail."""
    return Detail(message.DESCRIPTOR.full_name, message.SerializeToString())


def rpc_error(error: RequestError) -> RpcError:
    """Convert an error of the error table to an RPC error.

    The code becomes the gRPC number; the field and the retry delay become details.
    """
    from server.rpc.proto import error_details_pb2 as details_pb2

    note(error)
    details = []
    if error.field is not None:
        violation = details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        details.append(detail(details_pb2.BadRequest(field_violations=[violation])))
    if isinstance(error, ResourceExhausted | Unavailable):
        wait = details_pb2.RetryInfo()
        wait.retry_delay.seconds = int(error.headers["retry-after"])
        details.append(detail(wait))
    return RpcError(Code(CODES[error.code].grpc), error.message, details, list(error.headers.items()))
