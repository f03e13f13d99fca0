"""scripts/re-export with a stand-in exporter: its arguments, and the report of its outcome."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
MAKEFILE: Final = "export:\n\t.venv/bin/python -m export run $(EXPORT_FLAGS)\n"
# Prints its arguments, and publishes or rejects as the test requires.
EXPORTER: Final = """#!/bin/sh
echo "called: $*"
[ "$3" = run ] || exit 0
[ "$OUTCOME" = 4 ] && echo "refused: worse than version 1" >&2 && exit 4
[ "$OUTCOME" = new ] && mkdir -p models/titanic/2 && echo two >models/titanic/2/model.onnx
exit 0
"""


def re_export(tree: Path, outcome: str, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Create the tree and run the script there as the workflow does."""
    (tree / "scripts").mkdir()
    (tree / ".venv" / "bin").mkdir(parents=True)
    (tree / "models").mkdir()
    shutil.copy(ROOT / "scripts" / "re-export", tree / "scripts")
    (tree / "Makefile").write_text(MAKEFILE)
    (tree / "other.csv").touch()
    (tree / ".venv" / "bin" / "python").write_text(EXPORTER)
    (tree / ".venv" / "bin" / "python").chmod(0o755)
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    environment = os.environ | inputs | {"OUTCOME": outcome, "GITHUB_STEP_SUMMARY": str(tree / "summary.md")}
    command = [tree / "scripts" / "re-export", tree / "report.md"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_new_version_is_reported_with_its_difference(tmp_path: Path) -> None:
    """The inputs become exporter options; report and summary show the run and the difference."""
    done = re_export(tmp_path, "new", EXPORT_DATA="other.csv", EXPORT_SEED="7", EXPORT_FORCE="true")
    assert done.returncode == 0, done.stderr
    report = (tmp_path / "report.md").read_text()
    assert "called: -m export run --data other.csv --seed 7 --force\n" in report
    assert "called: -m export diff titanic\n" in report
    assert (tmp_path / "summary.md").read_text() == report


@pytest.mark.parametrize(("outcome", "code"), [("4", 2), ("unchanged", 0)])
def test_without_a_new_version_there_is_no_difference(tmp_path: Path, outcome: str, code: int) -> None:
    """A rejection ends with make's exit code and shows its reason; an unchanged model ends with 0."""
    done = re_export(tmp_path, outcome, EXPORT_FORCE="false", EXPORT_DATA="", EXPORT_SEED="")
    assert done.returncode == code
    summary = (tmp_path / "summary.md").read_text()
    assert "diff" not in summary
    assert "--" not in summary
    assert ("refused: worse than version 1" in summary) == (outcome == "4")
    assert ("Error 4" in summary) == (outcome == "4")
