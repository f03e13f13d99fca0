"""Tests of the server's OpenAPI document with schemathesis, a public test generator."""

import json
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.server.support.process import serving

PYTHON: Final = Path(__file__).parents[2] / ".build" / "clients" / "schemathesis" / "bin" / "python"
CONFIG: Final = Path(__file__).parent / "schemathesis" / "schemathesis.toml"
UNWRITTEN: Final = ["--phases", "coverage,fuzzing", "--suppress-health-check", "filter_too_much"]
"""schemathesis can't write NDJSON, so its examples are left out; tests/server/rest/test_openapi.py sends them."""
TABLES: Final = "/(infer|batch)$"
CALLS: Final = r"^/\w+(\.\w+)+/"
STREAMS: Final = "(Watch|Stream|PredictStream|ModelStreamInfer|ServerReflectionInfo)$"
CHECK: Final = """
import json, sys
from schemathesis.specs.openapi.definitions import OPENAPI_31, OPENAPI_31_VALIDATOR
assert OPENAPI_31["$id"].startswith("https://spec.openapis.org/oas/3.1/schema/"), OPENAPI_31["$id"]
for error in OPENAPI_31_VALIDATOR.iter_errors(json.load(sys.stdin)):
    print(error)
"""
"""Validates with the official meta-schema, which comes with schemathesis."""
ANSWERS: Final = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
KIND_OF_RUN: Final = [
    pytest.param(["--checks", "all", "--exclude-path-regex", f"{TABLES}|{CALLS}"], id="all but tensors, files, calls"),
    # A schema can't express that a tensor has as many elements as its shape says, nor what a file contains: a body may
    # be valid by the schema and still be wrong.
    pytest.param(
        ["--checks", "all", "--include-path-regex", TABLES, *UNWRITTEN, "--exclude-checks", "positive_data_acceptance"],
        id="tensors and files",
    ),
    # A call accepts protobuf's JSON, such as numbers as strings, which no schema expresses. Streams may not end.
    pytest.param(
        ["--checks", ANSWERS, "--max-examples", "8", "--include-path-regex", CALLS, "--exclude-path-regex", STREAMS],
        id="calls",
    ),
]


@pytest.mark.parametrize("options", KIND_OF_RUN)
def test_schemathesis(tmp_path: Path, options: list[str]) -> None:
    """Every check of schemathesis passes: statuses, types, schemas, acceptance and rejection."""
    if not PYTHON.exists():
        pytest.skip("schemathesis is not installed; `make test` does it")
    with serving(LIFEBOAT_ADMIN_TOKEN="nobody has it") as server:  # noqa: S106 # the test's own
        address = str(server.base_url.join("/api/openapi.json"))
        command = [
            str(PYTHON),
            "-m",
            "schemathesis.cli",
            "--config-file",
            str(CONFIG),
            "run",
            address,
            "--seed",
            "1912",
        ]
        command += ["--warnings", "off", "--no-color", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:]
        assert "No issues found" in done.stdout, done.stdout[-1000:]
        assert server.get("/v2/health/ready").status_code == 200


def test_meta_schema() -> None:
    """The document is valid by the meta-schema of OpenAPI 3.1; one without a version is not."""
    if not PYTHON.exists():
        pytest.skip("schemathesis is not installed; `make test` does it")
    with serving() as server:
        document = server.get("/api/openapi.json").json()
    for broken, is_valid in ((document, True), (document | {"info": {"title": "Lifeboat"}}, False)):
        done = subprocess.run(
            [str(PYTHON), "-c", CHECK], input=json.dumps(broken), capture_output=True, text=True, check=True
        )
        assert (not done.stdout) == is_valid, done.stdout[:2000]
