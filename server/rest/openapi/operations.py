"""Common parts of OpenAPI operations: bodies, responses, errors with their envelope, headers, security schemes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from server.errors import CODES, RETRY_AFTER_S
from server.http.message import JSON
from server.rest.openapi import schemas

Document = dict[str, Any]

OBJECT: Final[Document] = {"type": "object"}
BINARY: Final[Document] = {"type": "string", "format": "binary"}
TEXT: Final[Document] = {"type": "string"}

PREDICTIONS: Final = "Predictions"
EXPLANATIONS: Final = "Explanations"
FILES: Final = "Files"
MODELS: Final = "Models"
PROTOCOL: Final = "Open Inference Protocol"
CONTROL: Final = "Model control"
CALLS: Final = "Calls"
SERVER: Final = "Server"
TAGS: Final[Mapping[str, str]] = {
    PREDICTIONS: "Predictions for records.",
    EXPLANATIONS: "Predictions, with the contribution of each feature.",
    FILES: "Scores a file of rows: the rows and their predictions are streamed back. Files may have any size.",
    MODELS: "The served models, their features and their model cards.",
    PROTOCOL: "Version 2 of the protocol, compatible with Triton and KServe, with JSON and binary tensors.",
    CONTROL: "Loads, reloads and unloads models. Requires the operator's token.",
    CALLS: "RPCs of the Connect protocol. The same paths accept gRPC-Web, and native gRPC if HTTP/2 is enabled.",
    SERVER: "Documentation, static files and metrics of the server.",
}

ANY: Final = (405, 500, 503)
BODY: Final = (400, 413, 415, *ANY)
MODEL: Final = (404, *ANY)
RUN: Final = (*BODY, 404, 429, 504)

_ERROR_MESSAGES: Final[Mapping[str, str]] = {
    "invalid_argument": "body: expected a JSON object",
    "unauthenticated": "model control requires a bearer token",
    "permission_denied": "the bearer token is wrong",
    "not_found": "there is nothing at /api/nothing; GET /api/models lists what is served",
    "method_not_allowed": "/api/models takes GET, HEAD, not POST",
    "payload_too_large": "body: expected at most 4194304 bytes",
    "unsupported_media_type": 'content-type: expected application/json; got "text/plain"',
    "resource_exhausted": "the queue is full; try again",
    "canceled": "the client disconnected before the response",
    "internal": "internal error; request id 0b5e2f3c9d5f4b0f8e8a6f3f5c1d2e4a",
    "unimplemented": "there is no shared memory here; expected the tensor in the message",
    "unavailable": "the server is stopping; try again",
    "deadline_exceeded": "the deadline passed before the response",
}
"""An example error message for each code."""
_ERROR_HEADERS: Final[Mapping[str, Document]] = {
    "unauthenticated": {"WWW-Authenticate": {"schema": TEXT, "description": "Bearer"}},
    "method_not_allowed": {"Allow": {"schema": TEXT, "description": "the methods that the path supports"}},
    "resource_exhausted": {"Retry-After": {"schema": TEXT, "description": f"seconds: {RETRY_AFTER_S}"}},
    "unavailable": {"Retry-After": {"schema": TEXT, "description": f"seconds: {RETRY_AFTER_S}"}},
}
SECURITY: Final[list[Document]] = [{}, {"key": []}, {"bearer": []}]
"""No authentication, except behind a Worker that requires API keys."""


def operation(
    tag: str,
    summary: str,
    members: Mapping[str, Any],
    error_statuses: Sequence[int],
    *,
    parameters: Sequence[Document] = (),
) -> Document:
    """Return an operation.

    `members` are OpenAPI members, including the response; `error_statuses` are the HTTP statuses of errors.
    """
    operation_members: Document = {"tags": [tag], "summary": summary, **(ok(OBJECT) | dict(members))}
    own_responses: Document = operation_members["responses"]
    error_responses = {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(set(error_statuses))
    }
    headers = [{"$ref": "#/components/parameters/RequestId"}]
    if 504 in error_statuses:
        headers.insert(0, {"$ref": "#/components/parameters/Timeout"})
    return operation_members | {
        "parameters": [*parameters, *headers],
        "responses": own_responses | error_responses | own_responses,
    }


def ok(schema: Document, examples: Document | None = None, media_type: str = JSON) -> Document:
    """Return the 200 response of an operation, with examples by name."""
    return {"responses": {"200": {"description": "The response", "content": content(schema, examples, media_type)}}}


def body(schema: Document, examples: Document | None = None, *, required: bool = True) -> Document:
    """Return the JSON request body of an operation, with examples named like their responses."""
    return {"required": required, "content": content(schema, examples, JSON)}


def content(schema: Document, examples: Document | None, media_type: str) -> Document:
    """Return the content of a body in one media type."""
    named_examples = {name: {"value": value} for name, value in (examples or {}).items()}
    return {media_type: {"schema": schema} | ({"examples": named_examples} if named_examples else {})}


def components(other_responses: Document) -> Document:
    """Return the components except the schemas: error responses, `other_responses`, headers and security schemes."""
    return {
        "responses": {
            str(CODES[code].http): _error_response(code, message) for code, message in _ERROR_MESSAGES.items()
        }
        | other_responses,
        "parameters": {
            "Timeout": {
                "name": "X-Request-Timeout-Ms",
                "in": "header",
                "description": "The deadline in milliseconds; then the response is 504, and queued rows are not run.",
                "schema": {"type": "integer", "minimum": 0, "maximum": 9_999_999_999},
            },
            "RequestId": {
                "name": "X-Request-Id",
                "in": "header",
                "description": "The id of the request in the log: at most 128 letters, digits and `_.:/+=-`.",
                "schema": TEXT,
            },
        },
        "securitySchemes": {
            "key": {
                "type": "apiKey",
                "in": "header",
                "name": "X-Api-Key",
                "description": "An API key of the Worker, if it requires one.",
            },
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key of the Worker, as a bearer token.",
            },
            "token": {"type": "http", "scheme": "bearer", "description": "The operator's token, for model control."},
        },
    }


def _error_response(code: str, message: str) -> Document:
    error_content = content(schemas.ref("Error"), {code: {"error": message, "code": code}}, JSON)
    header_schemas = _ERROR_HEADERS.get(code)
    return {"description": f"{code} ({CODES[code].http})", "content": error_content} | (
        {"headers": header_schemas} if header_schemas else {}
    )
