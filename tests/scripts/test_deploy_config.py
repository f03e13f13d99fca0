"""scripts/deploy-config writes a configuration with the base image's digest, and wrangler builds with it."""

import os
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
WRITTEN: Final = ROOT / "wrangler.deploy.toml"
BASE: Final = f"debian@sha256:{'0123456789abcdef' * 4}"
DOCKER: Final = """#!/bin/sh
echo "$*" >>"$CALLS"
[ "$1" != build ] || cat >"$DOCKERFILE"
"""


@pytest.fixture
def written() -> Iterator[Path]:
    """Return the path that the script writes; remove the file afterwards."""
    yield WRITTEN
    WRITTEN.unlink(missing_ok=True)


def _deploy_config(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts" / "deploy-config"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_wrangler_builds_the_image_on_the_named_base(written: Path, tmp_path: Path) -> None:
    """The configuration is wrangler.toml plus the base, which the build gets as an argument."""
    assert _deploy_config(BASE).returncode == 0
    configuration = tomllib.loads(written.read_text())
    (container,) = configuration["containers"]
    assert container.pop("image_vars") == {"BASE": BASE}
    assert configuration == tomllib.loads((ROOT / "wrangler.toml").read_text())
    docker = tmp_path / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    recorded = {"CALLS": str(tmp_path / "calls"), "DOCKERFILE": str(tmp_path / "dockerfile")}
    settings = {"WRANGLER_DOCKER_BIN": str(docker), "WRANGLER_SEND_METRICS": "false"}
    command = ["scripts/node", "npx", "wrangler", "deploy", "--dry-run", "--config", written.name]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | settings | recorded,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"--build-arg BASE={BASE} " in (tmp_path / "calls").read_text()
    lines = (tmp_path / "dockerfile").read_text().splitlines()
    assert lines.index("ARG BASE=debian:trixie-slim") < lines.index("FROM ${BASE} AS build")


@pytest.mark.parametrize("base", ["", "debian:trixie-slim", "debian@sha256:0", f'x"{BASE}', f"{BASE}\nx = 1"])
def test_a_base_without_a_digest_is_refused(written: Path, base: str) -> None:
    """A base without a digest, or with more than an image name, is rejected before the build."""
    done = _deploy_config(base)
    assert done.returncode == 2
    assert "base: expected an image by its digest" in done.stderr
    assert not written.exists()
