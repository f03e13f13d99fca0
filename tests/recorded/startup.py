"""Starts that the server rejects: the exit code and the log of each."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.recorded import normalise
from tests.recorded.exchange import TIMEOUT_S, Json
from tests.recorded.server_process import command, environment

_REJECTED: Final[Sequence[Mapping[str, str]]] = (
    {"PORT": "http"},
    {"PORT": "65536"},
    {"LIFEBOAT_MAX_ROWS": "0"},
    {"LIFEBOAT_MAX_BODY_BYTES": "-1"},
    {"LIFEBOAT_MAX_JSON_DEPTH": "3"},
    {"LIFEBOAT_HTTP2": "yes"},
    {"LIFEBOAT_LOG_LEVEL": "loud"},
    {"LIFEBOAT_LOG_FORMAT": "xml"},
    {"LIFEBOAT_LOG_REQUESTS": "some", "LIFEBOAT_LOG_FORMAT": "text"},
    {"LIFEBOAT_VERSION_POLICY": "newest"},
    {"LIFEBOAT_ADMIN_TOKEN": " spaced "},
    {"LIFEBOAT_MODELS": "no-such-folder"},
    {"LIFEBOAT_DEFAULT_MODEL": "nothing"},
    {"LIFEBOAT_HOST": "203.0.113.1"},
)
"""Settings that the server rejects, each with a different message."""


def names() -> Iterator[str]:
    """Yield the name of each start in a recording."""
    for settings in _REJECTED:
        yield "start: " + " ".join(f"{name}={value}" for name, value in settings.items())


def rejected(folder: Path) -> dict[str, Json]:
    """Return the result of each rejected start of the server in `folder`, by name."""
    with ThreadPoolExecutor(2) as executor:
        return dict(zip(names(), executor.map(lambda settings: _start(folder, settings), _REJECTED), strict=True))


def _start(folder: Path, settings: Mapping[str, str]) -> Json:
    ended = subprocess.run(
        command(),
        cwd=folder,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return {"exit code": ended.returncode, "log": [*normalise.log(ended.stderr, [str(folder)]).splitlines()]}
