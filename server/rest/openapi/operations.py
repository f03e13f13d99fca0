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
    PREDICTIONS: "Records in, answers out.",
    EXPLANATIONS: "The answer, and what each feature adds to it.",
    FILES: "A file of rows in, the scored rows out, as a stream of any size.",
    MODELS: "What is served, and what it takes.",
    PROTOCOL: "Version 2, as Triton and KServe speak it, with JSON and binary tensors.",
    CONTROL: "What is served is read anew, or served no longer; it takes the operator's token.",
    CALLS: "Typed calls by the Connect protocol. The same paths take gRPC-Web, and native gRPC where HTTP/2 is on.",
    SERVER: "The server itself.",
}

ANY: Final = (405, 500, 503)
BODY: Final = (400, 413, 415, *ANY)
MODEL: Final = (404, *ANY)
RUN: Final = (*BODY, 404, 429, 504)

_REFUSALS: Final[Mapping[str, str]] = {
    "invalid_argument": "body: expected a JSON object",
    "unauthenticated": "authorization: expected Bearer and a token",
    "permission_denied": "authorization: the token is not the one",
    "not_found": "there is nothing at /api/nothing; GET /api/models tells what is served",
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
_FIELDS: Final[Mapping[str, Document]] = {
    "unauthenticated": {"WWW-Authenticate": {"schema": TEXT, "description": "Bearer"}},
    "method_not_allowed": {"Allow": {"schema": TEXT, "description": "the methods that the path takes"}},
    "resource_exhausted": {"Retry-After": {"schema": TEXT, "description": f"seconds: {RETRY_AFTER_S}"}},
    "unavailable": {"Retry-After": {"schema": TEXT, "description": f"seconds: {RETRY_AFTER_S}"}},
}
SECURITY: Final[list[Document]] = [{}, {"key": []}, {"bearer": []}]
"""No authentication, except behind a Worker that requires API keys."""


def operation(
    tag: str,
    summary: str,
    members: Mapping[str, Any],
    refusals: Sequence[int],
    *,
    parameters: Sequence[Document] = (),
) -> Document:
    """Return an operation.

    `members` are OpenAPI members, including the response; `refusals` are the HTTP statuses of errors.
    """
    made: Document = {"tags": [tag], "summary": summary, **(ok(OBJECT) | dict(members))}
    own: Document = made["responses"]
    refused = {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(set(refusals))}
    headers = [{"$ref": "#/components/parameters/RequestId"}]
    if 504 in refusals:
        headers.insert(0, {"$ref": "#/components/parameters/Timeout"})
    return made | {"parameters": [*parameters, *headers], "responses": own | refused | own}


def ok(schema: Document, examples: Document | None = None, media_type: str = JSON) -> Document:
    """Return the 200 response of an operation, with examples by name."""
    return {"responses": {"200": {"description": "The answer", "content": content(schema, examples, media_type)}}}


def body(schema: Document, examples: Document | None = None, *, required: bool = True) -> Document:
    """Return the JSON request body of an operation, with examples named like their responses."""
    return {"required": required, "content": content(schema, examples, JSON)}


def content(schema: Document, examples: Document | None, media_type: str) -> Document:
    """Return the content of a body in one media type."""
    named = {name: {"value": value} for name, value in (examples or {}).items()}
    return {media_type: {"schema": schema} | ({"examples": named} if named else {})}


def components(others: Document) -> Document:
    """Return the components except the schemas: error responses, `others`, headers and security schemes."""
    return {
        "responses": {str(CODES[code].http): _refusal(code, words) for code, words in _REFUSALS.items()} | others,
        "parameters": {
            "Timeout": {
                "name": "X-Request-Timeout-Ms",
                "in": "header",
                "description": "How long the caller waits; after that it is told 504, and what wasn't run never is.",
                "schema": {"type": "integer", "minimum": 0, "maximum": 9_999_999_999},
            },
            "RequestId": {
                "name": "X-Request-Id",
                "in": "header",
                "description": "The id under which the log has a failure; letters, digits and `_.:/+=-`, 128 at most.",
                "schema": TEXT,
            },
        },
        "securitySchemes": {
            "key": {
                "type": "apiKey",
                "in": "header",
                "name": "X-Api-Key",
                "description": "An API key of the Worker, where it asks for one.",
            },
            "bearer": {"type": "http", "scheme": "bearer", "description": "The same, as a bearer token."},
            "token": {"type": "http", "scheme": "bearer", "description": "The operator's, for model control."},
        },
    }


def _refusal(code: str, words: str) -> Document:
    answer = content(schemas.ref("Error"), {code: {"error": words, "code": code}}, JSON)
    fields = _FIELDS.get(code)
    return {"description": f"{code} ({CODES[code].http})", "content": answer} | ({"headers": fields} if fields else {})
