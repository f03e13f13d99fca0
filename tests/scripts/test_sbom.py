"""scripts/sbom lists each package of a lock file with its version and hashes."""

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
Locked = set[tuple[str, str, frozenset[str]]]
"""Name, version and hashes (hexadecimal) of packages."""


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the bills of materials."""
    folder = tmp_path_factory.mktemp("sbom") / "new"
    done = subprocess.run([ROOT / "scripts" / "sbom", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def _components(bill: Path) -> list[dict[str, Any]]:
    content = json.loads(bill.read_text())
    assert content["bomFormat"] == "CycloneDX"
    return list(content["components"])


def _hashes(component: dict[str, Any]) -> frozenset[str]:
    """Return the hashes of a component and of the files it is distributed as."""
    files = [component, *component.get("externalReferences", [])]
    return frozenset(each["content"] for file in files for each in file.get("hashes", []))


def test_what_the_image_installs_is_listed(bills: Path) -> None:
    """The server's bill has exactly the packages of requirements.lock."""
    lock = (ROOT / "requirements.lock").read_text()
    blocks = re.findall(r"^([\w.-]+)==([\w.]+)[^\n]*((?:\n    --hash=sha256:[0-9a-f]{64}[^\n]*)+)", lock, re.MULTILINE)
    locked: Locked = {(name, version, frozenset(re.findall(r"[0-9a-f]{64}", text))) for name, version, text in blocks}
    assert len(locked) == len(re.findall(r"^[\w.-]+==", lock, re.MULTILINE)) >= 15
    listed: Locked = {(each["name"], each["version"], _hashes(each)) for each in _components(bills / "server.cdx.json")}
    assert listed == locked


def test_what_the_worker_is_built_from_is_listed(bills: Path) -> None:
    """The Worker's bill has exactly the packages of package-lock.json; only shipped ones are required."""
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    locked: Locked = set()
    for path, package in packages.items():
        if path:
            hexed = (base64.b64decode(each.partition("-")[2]).hex() for each in package["integrity"].split())
            locked.add((path.rpartition("node_modules/")[2], package["version"], frozenset(hexed)))
    components = _components(bills / "worker.cdx.json")
    assert {(each["name"], each["version"], _hashes(each)) for each in components} == locked
    shipped = {each["name"] for each in components if each["scope"] == "required"}
    assert shipped == {name for name in ("@cloudflare/containers", "hono") if any(name in path for path in packages)}
