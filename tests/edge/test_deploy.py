"""Tests of the deployment page: its configuration is complete, and its API keys work."""

import hashlib
import re
import subprocess
import tomllib
from typing import Final

from tests.edge.stack import ROOT

PAGE: Final = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
DRY_RUN: Final = ("deploy", "--dry-run", "--containers-rollout=none")


def _wrangler(*arguments: str) -> str:
    command = ["scripts/node", "npx", "wrangler", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_deployed_configuration_is_whole() -> None:
    """The deployed configuration passes a dry run and names instance type, cron and SQLite-backed class."""
    assert "--dry-run: exiting now" in _wrangler(*DRY_RUN)
    assert f"scripts/node npx wrangler {' '.join(DRY_RUN)} " in PAGE
    text = (ROOT / "wrangler.toml").read_text()
    for line in ('instance_type = "basic"', 'crons = ["*/2 * * * *"]', 'new_sqlite_classes = ["InferenceContainer"]'):
        assert line in text


def test_the_platforms_own_log_lines_are_off() -> None:
    """The platform's request log is off: it has full URLs, and a query may hold a record."""
    observability = tomllib.loads((ROOT / "wrangler.toml").read_text())["observability"]
    assert observability == {"enabled": True, "logs": {"enabled": True, "invocation_logs": False}}


def test_a_key_is_made_as_the_door_reads_it() -> None:
    """The page's commands make a key and print the API_KEYS entry: a name and the key's SHA-256."""
    making = re.search(r"^(key=.*\nhash=.*\nprintf [^|]*)\|", PAGE, re.MULTILINE)
    changing = re.search(r"^ *(new_key=.*\n *new_hash=.*\n *printf [^|]*)\|", PAGE, re.MULTILINE)
    assert making
    assert changing
    script = f'{making[1]}\necho\nold_hash=$hash\n{changing[1]}\nprintf "\\n%s %s" "$key" "$new_key"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    first, both, keys = done.stdout.splitlines()
    old, new = (hashlib.sha256(key.encode()).hexdigest() for key in keys.split())
    assert first == f"mobile:{old}"
    assert both == f"mobile:{old} mobile-2026:{new}"
