"""Exception hierarchy, and the table of error codes for every interface.

Exception
├── SettingsError            an environment variable is invalid; the server does not start
├── ModelError               a model version can't be served; the message says which and why
│   ├── MissingModelError    no folder has the model's name
│   ├── ManifestError        manifest.json is missing, malformed or contradicts itself
│   ├── DigestError          model.onnx does not match the manifest's digest
│   ├── SignatureError       the session's inputs or outputs differ from the manifest's
│   └── GoldenError          the session's outputs for the golden rows differ from the export's
└── RequestError             one request fails; its code decides the status in each protocol
    ├── InvalidArgument      400: undecodable bytes; a wrong name, shape, datatype or range
    ├── Unauthenticated      401, with WWW-Authenticate: a token is required
    ├── PermissionDenied     403: the token is wrong, or none is configured
    ├── NotFound             404: no such model, version, label or path
    ├── MethodNotAllowed     405, with Allow
    ├── PayloadTooLarge      413: a limit is exceeded, detected before the whole body is read
    ├── UnsupportedMediaType 415: a stated media type is unknown
    ├── ResourceExhausted    429, with Retry-After: the queue is full
    ├── Canceled             499: the client disconnected
    ├── Internal             500: logged, opaque to the client
    ├── Unimplemented        501
    ├── Unavailable          503, with Retry-After: the server is draining
    └── DeadlineExceeded     504: the client's own deadline passed
        └── RequestTimeout   408: the head or body did not arrive in time; the connection closes
"""

from collections.abc import Mapping
from typing import ClassVar, Final, NamedTuple

import msgspec

RETRY_AFTER_S: Final = 1
"""Seconds after which a client may retry that a full or draining server rejected."""


class Status(NamedTuple):
    """The HTTP status and the gRPC status of one code."""

    http: int
    grpc: int


CODES: Mapping[str, Status] = {
    "invalid_argument": Status(400, 3),
    "unauthenticated": Status(401, 16),
    "permission_denied": Status(403, 7),
    "not_found": Status(404, 5),
    "method_not_allowed": Status(405, 12),
    "payload_too_large": Status(413, 8),
    "unsupported_media_type": Status(415, 12),
    "resource_exhausted": Status(429, 8),
    "canceled": Status(499, 1),
    "internal": Status(500, 13),
    "unimplemented": Status(501, 12),
    "unavailable": Status(503, 14),
    "deadline_exceeded": Status(504, 4),
}
"""Code to HTTP and gRPC status. RequestTimeout alone has another HTTP status; the Worker has its own table."""


class SettingsError(Exception):
    """An environment variable is invalid; the message names it and the expected value."""


class ModelError(Exception):
    """A model version can't be served."""


class MissingModelError(ModelError):
    """No folder has the model's name."""


class ManifestError(ModelError):
    """manifest.json is missing, malformed or contradicts itself."""


class DigestError(ModelError):
    """model.onnx does not match the manifest's digest."""


class SignatureError(ModelError):
    """The session's inputs or outputs differ from the manifest's."""


class GoldenError(ModelError):
    """The session's outputs for the manifest's golden rows differ from the export's."""


class RequestError(Exception):
    """An error of one request.

    `code` is a key of CODES; `field` is the feature or tensor at fault, if one is.
    """

    code: ClassVar[str]

    def __init__(self, message: str, *, field: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        """The HTTP status of this error."""
        return CODES[self.code].http

    def envelope(self) -> bytes:
        """Return the JSON body: `error`, `code`, and `field` if known.

        Open Inference Protocol clients read `error`.
        """
        body = {"error": self.message, "code": self.code}
        if self.field is not None:
            body["field"] = self.field
        return msgspec.json.encode(body)


class InvalidArgument(RequestError):
    """The bytes can't be decoded, or a name, shape, datatype or range is wrong."""

    code = "invalid_argument"


class Unauthenticated(RequestError):
    """A bearer token is required."""

    code = "unauthenticated"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"www-authenticate": "Bearer"})


class PermissionDenied(RequestError):
    """The token is wrong, or the operation is disabled."""

    code = "permission_denied"


class NotFound(RequestError):
    """The model, version, label or path does not exist."""

    code = "not_found"


class MethodNotAllowed(RequestError):
    """The path exists, but it does not support the method."""

    code = "method_not_allowed"


class PayloadTooLarge(RequestError):
    """The body, or the rows in it, exceed the limit."""

    code = "payload_too_large"


class UnsupportedMediaType(RequestError):
    """The stated content type or encoding is unknown."""

    code = "unsupported_media_type"


class ResourceExhausted(RequestError):
    """The queue is full: the request is rejected at once, without an unbounded wait."""

    code = "resource_exhausted"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"retry-after": str(RETRY_AFTER_S)})


class Canceled(RequestError):
    """The client disconnected before the response."""

    code = "canceled"


class Internal(RequestError):
    """An internal error of the server.

    The log has its details under the request id; the client gets only that id.
    """

    code = "internal"


class Unimplemented(RequestError):
    """The protocol defines this operation, but the server does not implement it."""

    code = "unimplemented"


class Unavailable(RequestError):
    """The server is draining; another server may handle the request."""

    code = "unavailable"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"retry-after": str(RETRY_AFTER_S)})


class DeadlineExceeded(RequestError):
    """The client's own deadline passed before the response."""

    code = "deadline_exceeded"


class RequestTimeout(DeadlineExceeded):
    """The head or body did not arrive in time, or arrived below the minimum rate."""

    @property
    def status(self) -> int:
        """408 (RFC 9110, section 15.5.9): this deadline is the server's, not the client's own."""
        return 408


def drop_tracebacks(error: BaseException | None) -> None:
    """Remove the tracebacks of a handled error and of the errors before it.

    The frames of a traceback often refer to the error: that cycle holds the request's body until a garbage collection.
    """
    while error is not None:
        error.__traceback__ = None
        cause = error.__cause__ or error.__context__
        error.__cause__ = error.__context__ = None
        error = cause
