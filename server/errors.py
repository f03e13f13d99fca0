"""Every failure, on every wire, as one envelope: the hierarchy, and the one table of codes.

Exception
├── SettingsError            an environment variable is wrong; the server does not start
├── ModelError               a model version can't be served; the message says which and why
│   ├── MissingModelError    there is no folder of the model's name
│   ├── ManifestError        manifest.json is missing, malformed or contradicts itself
│   ├── DigestError          model.onnx is not the file the manifest was written for
│   ├── SignatureError       the session's inputs or outputs are not the manifest's
│   └── GoldenError          the session doesn't answer the golden rows as at export
└── RequestError             one request fails; its code decides the status on each wire
    ├── InvalidArgument      400: bytes that don't decode; a wrong name, shape, datatype or range
    ├── Unauthenticated      401, with WWW-Authenticate: a token is needed
    ├── PermissionDenied     403: the token is not the one, or there is none to be had
    ├── NotFound             404: no such model, version, label or path
    ├── MethodNotAllowed     405, with Allow
    ├── PayloadTooLarge      413: over a limit, told before the body is read whole
    ├── UnsupportedMediaType 415: a type that is stated and not known
    ├── ResourceExhausted    429, with Retry-After: the queue is full
    ├── Canceled             499: the caller left
    ├── Internal             500: logged, opaque to the caller
    ├── Unimplemented        501
    ├── Unavailable          503, with Retry-After: draining
    └── DeadlineExceeded     504: the caller's own deadline passed
"""

from collections.abc import Mapping
from typing import ClassVar, Final, NamedTuple

import msgspec

RETRY_AFTER_S: Final = 1
"""Seconds after which a caller whom a full or draining server turned away may try again."""


class Status(NamedTuple):
    """What one code is on the two families of wires."""

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
"""Code to HTTP and gRPC status: the only place where either number is written."""


class SettingsError(Exception):
    """An environment variable is wrong; the message names it and says what was expected."""


class ModelError(Exception):
    """A model version can't be served."""


class MissingModelError(ModelError):
    """There is no folder of the model's name."""


class ManifestError(ModelError):
    """manifest.json is missing, malformed or contradicts itself."""


class DigestError(ModelError):
    """model.onnx is not the file that the manifest was written for."""


class SignatureError(ModelError):
    """The session's inputs or outputs are not the manifest's."""


class GoldenError(ModelError):
    """The session doesn't answer the manifest's golden rows as it did at export."""


class RequestError(Exception):
    """One request fails: `code` is a key of CODES, `field` the feature or tensor at fault where there is one."""

    code: ClassVar[str]

    def __init__(self, message: str, *, field: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        """The HTTP status of this failure."""
        return CODES[self.code].http

    def envelope(self) -> bytes:
        """Return the JSON body: `error` (what Open Inference Protocol clients read), `code`, `field` if known."""
        body = {"error": self.message, "code": self.code}
        if self.field is not None:
            body["field"] = self.field
        return msgspec.json.encode(body)


class InvalidArgument(RequestError):
    """Bytes that don't decode; a wrong name, shape, datatype or range."""

    code = "invalid_argument"


class Unauthenticated(RequestError):
    """A bearer token is needed."""

    code = "unauthenticated"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"www-authenticate": "Bearer"})


class PermissionDenied(RequestError):
    """The token is not the one, or what is asked is off."""

    code = "permission_denied"


class NotFound(RequestError):
    """There is no such model, version, label or path."""

    code = "not_found"


class MethodNotAllowed(RequestError):
    """The path exists, its method doesn't."""

    code = "method_not_allowed"


class PayloadTooLarge(RequestError):
    """The body or the rows in it are over the limit."""

    code = "payload_too_large"


class UnsupportedMediaType(RequestError):
    """The stated content type or encoding is not known."""

    code = "unsupported_media_type"


class ResourceExhausted(RequestError):
    """The queue is full: said at once, never a silent wait."""

    code = "resource_exhausted"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"retry-after": str(RETRY_AFTER_S)})


class Canceled(RequestError):
    """The caller left before the answer."""

    code = "canceled"


class Internal(RequestError):
    """A fault of the server's own: the log has it under the request id, the caller has the id alone."""

    code = "internal"


class Unimplemented(RequestError):
    """The protocol knows this, the server doesn't."""

    code = "unimplemented"


class Unavailable(RequestError):
    """The server is draining: another may answer."""

    code = "unavailable"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"retry-after": str(RETRY_AFTER_S)})


class DeadlineExceeded(RequestError):
    """The caller's own deadline passed before there was an answer."""

    code = "deadline_exceeded"
