"""The table of error codes, the error envelope, the version."""

import json
import tomllib
from pathlib import Path

import pytest

from server import VERSION
from server.errors import CODES, InvalidArgument, RequestError


def test_table_of_codes() -> None:
    """Every code has its documented HTTP and gRPC status."""
    assert CODES == {
        "invalid_argument": (400, 3),
        "unauthenticated": (401, 16),
        "permission_denied": (403, 7),
        "not_found": (404, 5),
        "method_not_allowed": (405, 12),
        "payload_too_large": (413, 8),
        "unsupported_media_type": (415, 12),
        "resource_exhausted": (429, 8),
        "canceled": (499, 1),
        "internal": (500, 13),
        "unimplemented": (501, 12),
        "unavailable": (503, 14),
        "deadline_exceeded": (504, 4),
    }


@pytest.mark.parametrize("error", RequestError.__subclasses__(), ids=lambda error: error.code)
def test_every_error_has_a_code_of_the_table(error: type[RequestError]) -> None:
    """Each error has the status that the table has for its code."""
    assert error("words").status == CODES[error.code].http


def test_envelope() -> None:
    """The envelope has message and code, and the field only if the error concerns one."""
    assert json.loads(InvalidArgument("no", field="age").envelope()) == {
        "error": "no",
        "code": "invalid_argument",
        "field": "age",
    }
    assert json.loads(InvalidArgument("no").envelope()) == {"error": "no", "code": "invalid_argument"}


def test_version_is_the_project_s() -> None:
    """The server's version equals the version in pyproject.toml."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION
