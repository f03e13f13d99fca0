"""The recording tool: its coverage, that recordings repeat, and that a comparison finds differences."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.recorded.__main__ import main
from tests.recorded.recording import Recording, by_interface, read

_ROOT = Path(__file__).parents[2]
_LEAST = 300
_INTERFACES = {
    "batch",
    "conditional",
    "connect",
    "control",
    "describe",
    "drift",
    "explain",
    "grpc",
    "grpc-web",
    "http1",
    "http2",
    "limits",
    "methods",
    "metrics",
    "page",
    "predict",
    "start",
    "v2",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the files of two recordings of this checkout."""
    folder = tmp_path_factory.mktemp("recorded")
    old, new = folder / "old.json", folder / "new.json"
    for file in (old, new):
        assert main(["record", str(file), "--server-dir", str(_ROOT)]) == 0
    return old, new


def test_two_recordings_are_equal(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Two recordings of one checkout have no differences."""
    status = main(["compare", *map(str, files)])
    assert (status, capsys.readouterr().out) == (0, "0 differences\n")


def test_every_interface_is_covered(files: tuple[Path, Path]) -> None:
    """A recording has at least 300 responses, and some for each interface."""
    counts = by_interface(read(files[0]))
    assert counts.keys() == _INTERFACES
    assert sum(counts.values()) >= _LEAST


def test_every_path_is_covered(files: tuple[Path, Path]) -> None:
    """Each path and method of the OpenAPI document has a response."""
    recording = read(files[0])
    requests = {each["request"] for each in recording.values()}
    paths = _document(recording)["paths"]
    expected = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    missing = {each for each in expected if not any(re.fullmatch(_pattern(each), sent) for sent in requests)}
    assert not missing


def test_a_difference_is_found(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A comparison lists a changed value and a missing response by name and place."""
    changed: Any = copy.deepcopy(read(files[0]))
    changed["GET /api/models"]["response"][0]["headers"][1][1] = "0"
    del changed["GET /v2"]
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(changed))
    assert main(["compare", str(files[0]), str(file)]) == 1
    printed = capsys.readouterr().out
    assert "GET /api/models: /0/headers/1/1" in printed
    assert "GET /v2: only in the old recording" in printed
    assert printed.endswith("2 differences\n")


def _document(recording: Recording) -> Any:  # noqa: ANN401 # JSON
    response: Any = recording["GET /api/openapi.json"]["response"]
    return json.loads(response[0]["body"]["text"])


def _pattern(request: str) -> str:
    """Return a regular expression for requests to a path with parameters."""
    return re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(request))
