"""Answers to ASGI responses."""

import msgspec
from starlette.responses import Response

from server.errors import RequestError
from server.requests import JSON


def json_response(body: object) -> Response:
    """Return `body` as JSON, 200."""
    return Response(msgspec.json.encode(body), media_type=JSON)


def error_response(error: RequestError) -> Response:
    """Return the error envelope, with the status of its code."""
    return Response(error.envelope(), error.status, error.headers, JSON)
