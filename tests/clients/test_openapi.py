"""The server's own OpenAPI document: schemathesis, which nobody here wrote, finds nothing that isn't as it says."""

import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.server.process import serving

PYTHON: Final = Path(__file__).parents[2] / ".build" / "clients" / "schemathesis" / "bin" / "python"
TABLES: Final = "/(infer|batch)$"
KIND_OF_RUN: Final = [
    pytest.param(["--exclude-path-regex", TABLES], id="all but tensors and files"),
    # That a tensor has as many elements as its shape says, and what is in a file, can't be said in a schema: valid by
    # it is not yet right.
    pytest.param(
        ["--include-path-regex", TABLES, "--exclude-checks", "positive_data_acceptance"], id="tensors and files"
    ),
]


@pytest.mark.parametrize("options", KIND_OF_RUN)
def test_schemathesis(tmp_path: Path, options: list[str]) -> None:
    """Every check of schemathesis holds: statuses, types, schemas, what is valid accepted and what is not refused."""
    if not PYTHON.exists():
        pytest.skip("schemathesis is not installed; `make test` does it")
    with serving(LIFEBOAT_ADMIN_TOKEN="nobody has it") as server:  # noqa: S106 # the test's own
        address = str(server.base_url.join("/api/openapi.json"))
        command = [str(PYTHON), "-m", "schemathesis.cli", "run", address, "--checks", "all", "--seed", "1912"]
        command += ["--max-examples", "30", "--warnings", "off", "--no-color", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:]
        assert "No issues found" in done.stdout, done.stdout[-1000:]
        assert server.get("/v2/health/ready").status_code == 200
