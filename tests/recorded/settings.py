"""The recorded servers: environment variables by server name."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.recorded.exchange import TOKEN

SERVERS: Final[Mapping[str, Mapping[str, str]]] = {
    "plain": {},
    "http2": {"LIFEBOAT_HTTP2": "1", "LIFEBOAT_ADMIN_TOKEN": TOKEN},
    "limits": {
        "LIFEBOAT_MAX_BODY_BYTES": "4000",
        "LIFEBOAT_MAX_ROWS": "3",
        "LIFEBOAT_MAX_HEADER_BYTES": "2000",
        "LIFEBOAT_MAX_JSON_DEPTH": "4",
        "LIFEBOAT_MAX_STRING_BYTES": "100",
        "LIFEBOAT_MAX_PROTOBUF_JSON_BYTES": "300",
        "LIFEBOAT_MAX_BATCHES": "0",
        "LIFEBOAT_MAX_EXPLANATIONS": "0",
        "LIFEBOAT_CACHE_S": "0",
        "LIFEBOAT_DRIFT_WINDOW_S": "0",
        "LIFEBOAT_LOG_REQUESTS": "all",
        "LIFEBOAT_LOG_INPUTS": "1",
        "LIFEBOAT_LOG_FORMAT": "json",
        "LIFEBOAT_HTTP2": "1",
        "LIFEBOAT_NO_SUCH_SETTING": "1",
    },
    "files": {
        "LIFEBOAT_MAX_COLUMNS": "4",
        "LIFEBOAT_MAX_SPOOL_BYTES": "100",
        "LIFEBOAT_MAX_RECORD_BATCH_BYTES": "1024",
        "LIFEBOAT_MAX_EXPLAIN_ROWS": "4096",
        "LIFEBOAT_MAX_QUEUE_ROWS": "2",
        "LIFEBOAT_LOG_FORMAT": "text",
        "LIFEBOAT_LOG_REQUESTS": "errors",
    },
    "versions": {
        "LIFEBOAT_MODELS": "{versions}",
        "LIFEBOAT_DEFAULT_MODEL": "titanic",
        "LIFEBOAT_ADMIN_TOKEN": TOKEN,
    },
}
"""Environment variables by server name; `{versions}` stands for a repository of `write_versions`."""


def write_versions(source: Path, target: Path) -> None:
    """Write a repository of two models, `titanic` and `ship`.

    `titanic` has two versions and a broken third. `source` is a repository that has version 1 of `titanic`.
    """
    _write_version(source / "titanic" / "1", target / "titanic" / "1", {})
    _write_version(source / "titanic" / "1", target / "titanic" / "2", {"version": 2, "background": None})
    _write_version(source / "titanic" / "1", target / "titanic" / "3", {"version": 3})
    (target / "titanic" / "3" / "model.onnx").write_bytes(b"no model")
    _write_version(source / "titanic" / "1", target / "ship" / "1", {"name": "ship", "reference": None})
    (target / "ship" / "1" / "card.html").unlink()
    (target / "titanic" / "labels.json").write_text('{"stable": 1, "next": 2}')


def _write_version(source: Path, target: Path, changes: Mapping[str, Any]) -> None:
    """Copy a model version with `changes` to its manifest; None removes a key."""
    shutil.copytree(source, target)
    manifest = json.loads((source / "manifest.json").read_bytes()) | changes
    content = json.dumps({name: value for name, value in manifest.items() if value is not None or name in _NULLABLE})
    if changes:
        (target / "manifest.json").write_text(content)
    names = ("card.html", "manifest.json", "model.onnx")
    sums = [f"{hashlib.sha256((target / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (target / "SHA256SUMS").write_text("".join(sums))


_NULLABLE: Final = ("comparison",)
"""Manifest keys whose value may be null in the committed manifest."""
