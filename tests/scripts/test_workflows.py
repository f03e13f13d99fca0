""".github/workflows are valid, and the scripts, targets and actions they use exist."""

import itertools
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
ACTIONLINT: Final = ROOT / ".build" / "go" / "actionlint"
WORKFLOWS: Final = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BY_FILE: Final = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.stem)


def scripts(workflow: Path) -> list[str]:
    """Return the text of each `run:` of a workflow, inline or as a block."""
    found = []
    lines = workflow.read_text().splitlines()
    for number, line in enumerate(lines):
        if run := re.fullmatch(r"( *(?:- )?)run: (.*)", line):
            deeper = re.compile(rf" {{{len(run[1]) + 1}}}|\s*$")
            below = itertools.takewhile(deeper.match, lines[number + 1 :])
            found.append(textwrap.dedent("\n".join(below)) if run[2] == "|" else run[2])
    return found


def test_there_are_workflows() -> None:
    """The workflows and their scripts are found, so that the tests below check something."""
    assert [workflow.stem for workflow in WORKFLOWS] == ["ci", "deploy", "export", "scan"]
    assert all(len(scripts(workflow)) == workflow.read_text().count("run: ") >= 2 for workflow in WORKFLOWS)


@BY_FILE
def test_actionlint_finds_nothing(workflow: Path) -> None:
    """Actionlint finds no error in keys, types, expressions, permissions, cron and inputs."""
    if not ACTIONLINT.exists():
        there = "make test-python builds it" if shutil.which("go") else "there is no go here to build it with"
        pytest.skip(f"actionlint is not installed: {there}")
    done = subprocess.run([ACTIONLINT, "-no-color", workflow], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@BY_FILE
def test_every_script_is_one_and_every_target_a_target(workflow: Path) -> None:
    """Each script parses in Bash, has no expressions, and uses existing make targets and paths."""
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for script in scripts(workflow):
        read = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert read.returncode == 0, read.stderr
        assert "${{" not in script
        assert set(re.findall(r"\bmake ([a-z0-9-]+)", script)) <= set(targets)
        assert all((ROOT / path).is_file() for path in re.findall(r"\b(?:scripts|tests)/[\w./-]+", script))


def test_ci_runs_what_a_bare_machine_runs() -> None:
    """The CI workflow runs the targets of .ci/run in the same order."""
    bare = re.findall(r"^make ([a-z0-9-]+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert bare
    workflow = ROOT / ".github" / "workflows" / "ci.yml"
    assert [script.removeprefix("make ") for script in scripts(workflow) if script.startswith("make ")] == bare


@BY_FILE
def test_actions_are_pinned(workflow: Path) -> None:
    """Each action is pinned by a commit, with its version in a comment."""
    used = re.findall(r"uses: (.*)", workflow.read_text())
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used)


@BY_FILE
def test_no_job_has_a_permission_that_it_does_not_name(workflow: Path) -> None:
    """A workflow grants no permission at the top; each job names its own."""
    text = workflow.read_text()
    assert re.search(r"^permissions: \{\}$", text, re.MULTILINE)
    assert text.count("\n    permissions:\n") == text.count("runs-on:")


@BY_FILE
def test_a_job_that_may_write_runs_no_third_party_code(workflow: Path) -> None:
    """A job with write permission installs nothing and runs only scripts with git and `gh`."""
    for job in re.split(r"^  (?=\w+:$)", workflow.read_text().partition("\njobs:\n")[2], flags=re.MULTILINE):
        if ": write" not in job:
            assert "actions/checkout" not in job or "persist-credentials: false" in job
            continue
        assert not re.search(r"\b(make|pip|npm|npx|python|curl|docker)\b", job)
        for script in re.findall(r"scripts/[\w-]+", job):
            assert not re.search(r"^[^#]*\b(make|pip|npm|npx|python|curl)\b", (ROOT / script).read_text(), re.MULTILINE)


def test_updates_are_proposed_for_folders_that_hold_what_is_updated() -> None:
    """Each folder of an update ecosystem has its lock file, workflows or Dockerfile."""
    holds = {"npm": "package-lock.json", "github-actions": ".github/workflows/ci.yml", "docker": "*Dockerfile"}
    text = (ROOT / ".github" / "dependabot.yml").read_text()
    found = re.findall(r"package-ecosystem: (\S+)\n    director(?:y|ies): (.*)", text)
    assert [ecosystem for ecosystem, _ in found] == list(holds)
    for ecosystem, folders in found:
        for folder in re.findall(r"/[\w/]*", folders):
            assert list(ROOT.glob(f"{folder}/{holds[ecosystem]}".lstrip("/"))), folder


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("EXPORT_DATA", "no/such.csv", "data: expected https://... or the path of a file in the tree"),
        ("EXPORT_DATA", "README.md; touch broken", "data: expected https://... or the path of a file in the tree"),
        ("EXPORT_DATA", "http://127.0.0.1/data.csv", "data: expected https://... or the path of a file in the tree"),
        ("EXPORT_SEED", "1 --force", "seed: expected a whole number of at most nine digits; got 1 --force"),
        ("EXPORT_SEED", "$(touch broken)", "seed: expected a whole number of at most nine digits"),
    ],
)
def test_a_wrong_input_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    """A wrong input ends the export with 2 before it starts, and the job summary says why."""
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    done = subprocess.run(
        [ROOT / "scripts" / "re-export", tmp_path / "report.md"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert words in (tmp_path / "summary.md").read_text()
    assert words in done.stderr
    assert not (ROOT / "broken").exists()
