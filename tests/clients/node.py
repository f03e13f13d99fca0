"""Public JavaScript clients: a project generated from the served .proto, and the output of its scripts."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = Path(__file__).parent / "web"
PACKAGES: Final = ROOT / ".build" / "clients" / "web" / "node_modules"
PROTOS: Final = ROOT / "server" / "rpc" / "proto"
HUNG_S: Final = 120
"""Seconds after which a command that hangs is killed, so that the test fails instead of hanging."""
PUBLIC: Final = ("error_details", "health", "inference", "status")
"""Files that belong to no model."""


class Project:
    """A client's project folder: packages, generated code, and the scripts that use both."""

    def __init__(self, folder: Path, server: httpx.Client) -> None:
        """Generate code from the default model's .proto; skip the test if the packages aren't installed."""
        if not (PACKAGES.parent / ".installed").exists():
            pytest.skip("the packages of tests/clients/web are not installed; `make test` does it")
        self._folder = folder
        served = server.get("/api/models/titanic/service.proto")
        assert served.headers["content-type"].startswith("text/plain")
        (folder / "service.proto").write_text(served.raise_for_status().text)
        for name in PUBLIC:
            shutil.copy(PROTOS / f"{name}.proto", folder)
        for script in SOURCES.glob("*.mjs"):
            shutil.copy(script, folder)
        (folder / "node_modules").symlink_to(PACKAGES)
        (folder / "package.json").write_text('{"type": "module"}')
        (folder / "gen").mkdir()
        self._generate()

    def said(self, server: httpx.Client, scenario: str, given: object, *clients: str) -> dict[str, Any]:
        """Return each client's results in a scenario of calls.mjs, by the client's name."""
        url = str(server.base_url).rstrip("/")
        done = _run("node", str(self._folder / "calls.mjs"), url, scenario, *clients, stdin=json.dumps(given))
        answers: dict[str, Any] = json.loads(done)
        assert {*answers} == {*clients}
        return answers

    def _generate(self) -> None:
        plugin = PACKAGES / "@bufbuild" / "protoc-gen-es" / "bin" / "protoc-gen-es"
        _run(
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{self._folder}"),
            *(f"--plugin=protoc-gen-es={plugin}", f"--es_out={self._folder / 'gen'}"),
            *("--es_opt=target=js,import_extension=js", "service.proto"),
            *(f"{name}.proto" for name in PUBLIC),
        )


def _run(*command: str, stdin: str = "") -> str:
    """Run a command with the project's Node; return its output."""
    done = subprocess.run(
        ["scripts/node", *command],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=HUNG_S,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
