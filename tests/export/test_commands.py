"""Tests of the exporter's commands through its entry point: effects, output and exit codes."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from export.__main__ import main
from export.cli.arguments import COMMANDS
from export.pipeline import steps
from server.models.repository import Repository
from tests.export import tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture
def source(tmp_path: Path) -> list[str]:
    """Return options for a tiny spec, its data, and a new repository."""
    return tiny.write(tmp_path)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a repository of two versions, the second one stable, with spec and data."""
    folder = tmp_path_factory.mktemp("published")
    source = tiny.write(folder)
    assert main(["run", *source]) == 0
    tiny.points(500, seed=1, noise=0.3).to_csv(folder / "tiny.csv", index=False)
    assert main(["run", *source]) == 0
    return folder


@pytest.fixture
def two(published: Path, tmp_path: Path) -> list[str]:
    """Return the option for a copy of that repository in the test's folder."""
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    return ["--models", str(tmp_path / "models")]


def _labels(folder: Path) -> Any:  # noqa: ANN401 # JSON
    return json.loads((folder / "models" / "tiny" / "labels.json").read_text())


def test_run_twice_changes_nothing(tmp_path: Path, source: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A second run with the same recipe trains and publishes nothing and changes no byte."""
    assert main(["run", *source]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    capsys.readouterr()
    assert main(["run", *source]) == 0
    said = capsys.readouterr().out
    assert f"publish: nothing new: {tmp_path}/models/tiny/1 is the same model" in said
    assert "train:" not in said
    assert {
        path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".pyc"
    } == before


def test_an_unchanged_recipe_moves_no_label(tmp_path: Path, two: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A run with nothing new leaves a rolled-back label, and prints the command to move it."""
    assert main(["rollback", "tiny", *two]) == 0
    assert main(["run", "--spec", str(tmp_path / "tiny.py"), "--data", str(tmp_path / "tiny.csv"), *two]) == 0
    said = capsys.readouterr().out
    assert "stable: still version 1" in said
    assert f"next: python -m export label tiny stable 2 --models {tmp_path}/models" in said
    assert _labels(tmp_path) == {"stable": 1}


def test_a_publication_stopped_before_its_label_is_finished(tmp_path: Path, source: list[str]) -> None:
    """If only the label is missing, the next run sets it."""
    assert main(["run", *source]) == 0
    (tmp_path / "models" / "tiny" / "labels.json").unlink()
    assert main(["run", *source]) == 0
    assert _labels(tmp_path) == {"stable": 1}


def test_no_promote(tmp_path: Path, source: list[str]) -> None:
    """With --no-promote a version is published and no label moves."""
    assert main(["run", *source, "--no-promote"]) == 0
    assert (tmp_path / "models" / "tiny" / "1" / "model.onnx").is_file()
    assert not (tmp_path / "models" / "tiny" / "labels.json").exists()


def test_changed_data_are_a_new_version(tmp_path: Path, two: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Changed data make version 2, with a card and a comparison with version 1, and stable."""
    folder = tmp_path / "models" / "tiny" / "2"
    assert _labels(tmp_path) == {"stable": 2}
    assert (folder / "card.html").is_file()
    comparison = json.loads((folder / "manifest.json").read_text())["comparison"]
    assert (comparison["version"], comparison["loss"], comparison["forced"]) == (1, "log_loss", False)
    assert main(["list", "tiny", *two]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0].startswith("tiny 2 (stable): linear of tiny.csv, 500 rows; accuracy ")
    assert listed[1].startswith("tiny 1: linear of tiny.csv, 300 rows; accuracy ")


def test_diff(tmp_path: Path, two: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A diff shows signature, provenance, scores and disagreement, in either order of versions."""
    assert main(["diff", "tiny", "--data", str(tmp_path / "tiny.csv"), *two]) == 0
    said = capsys.readouterr().out
    assert said.startswith("diff: tiny 1 and 2\nsignature: the same\nprovenance:\n  dataset sha256: ")
    assert "  dataset rows: 300 is now 500\n" in said
    assert "accuracy, each version on its own held-out rows: " in said
    assert " labels of 500 rows differ; mean difference 0." in said
    assert main(["diff", "tiny", "2", "1", *two, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["before"], told["after"], told["disagreement"]) == (2, 1, None)


def test_label_and_rollback(tmp_path: Path, two: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A label is set, rolled back and removed, and the server follows it."""
    assert main(["label", "tiny", "canary", "1", *two]) == 0
    assert _labels(tmp_path) == {"stable": 2, "canary": 1}
    assert main(["rollback", "tiny", *two]) == 0
    assert "rollback: stable of tiny is version 1 again, it was 2\n" in capsys.readouterr().out
    assert Repository.load(tmp_path / "models").resolve().version == "1"
    assert main(["label", "tiny", "canary", "--remove", *two]) == 0
    assert _labels(tmp_path) == {"stable": 1}
    assert main(["rollback", "tiny", *two]) == 1
    assert "error: 'stable' of tiny points at version 1 and has no previous version" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["label", "tiny", "stable", "7"], "tiny has no version 7; available: 1, 2"),
        (["label", "tiny", "stable"], "label: expected either a version or --remove"),
        (["label", "huge", "stable", "1"], "there is no model 'huge'; available: tiny"),
        (["diff", "tiny", "9"], "tiny has no version or label '9'; available: 2, 1, stable"),
        (["card", "tiny", "canary"], "tiny has no version or label 'canary'"),
        (["card", "tiny", "--out", "card.html"], "--spec: expected the spec of tiny; got titanic's"),
        (["rollback", "tiny", "--label", "canary"], "tiny has no label 'canary'; available: stable"),
    ],
)
def test_refused_commands(two: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    """A missing version, label or model is rejected with the existing ones and exit code 1."""
    assert main([*arguments, *two]) == 1
    assert words in capsys.readouterr().err


def test_the_steps_one_by_one(tmp_path: Path, source: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Train, verify and publish give the same result as run; each prints the next command."""
    spec, work, models = source[:2], ["--work", str(tmp_path / "work")], source[4:]
    assert main(["train", *source[:4], *work]) == 0
    assert f"next: python -m export verify --spec {source[1]} --work {work[1]}\n" in capsys.readouterr().out
    assert main(["verify", *spec, *work]) == 0
    assert f"next: python -m export publish --spec {source[1]} --work {work[1]}\n" in capsys.readouterr().out
    assert main(["publish", *spec, *work, *models]) == 0
    first = (tmp_path / "models" / "tiny" / "1" / "manifest.json").read_bytes()
    assert main(["run", *source[:4], "--models", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "tiny" / "1" / "manifest.json").read_bytes() == first


def test_steps_out_of_order(tmp_path: Path, source: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A step without its predecessor, or with other data, names the step to run first."""
    spec, work, models = source[:2], ["--work", str(tmp_path / "work")], source[4:]
    assert main(["verify", *spec, *work]) == 1
    assert "does not exist; run first: python -m export train" in capsys.readouterr().err
    assert main(["train", *source[:4], *work]) == 0
    assert main(["publish", *spec, *work, *models]) == 1
    assert "does not exist; run first: python -m export verify" in capsys.readouterr().err
    tiny.points(320).to_csv(tmp_path / "tiny.csv", index=False)
    assert main(["verify", *spec, *work]) == 1
    assert "have changed since the training; run again: python -m export train" in capsys.readouterr().err
    (tmp_path / "work" / "tiny" / "trained.joblib").write_bytes(b"nothing")
    assert main(["verify", *spec, *work]) == 1
    assert "can't be read" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_card(tmp_path: Path, two: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A version's card is found, and redrawn byte for byte from its own data only."""
    assert main(["card", "tiny", *two]) == 0
    published = tmp_path / "models" / "tiny" / "2" / "card.html"
    assert capsys.readouterr().out.startswith(f"card: {published}\n")
    source = ["--spec", str(tmp_path / "tiny.py"), "--data", str(tmp_path / "tiny.csv")]
    drawn = ["--out", str(tmp_path / "card.html"), *source]
    assert main(["card", "tiny", *drawn, *two]) == 0
    assert (tmp_path / "card.html").read_bytes() == published.read_bytes()
    assert main(["card", "tiny", "1", *drawn, *two]) == 1
    assert "tiny.csv is not the data that version 1 was trained on (tiny.csv)" in capsys.readouterr().err


def test_json(tmp_path: Path, source: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With --json standard output has one object and nothing else."""
    assert main(["run", *source, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["version"], told["new"], told["stable"]) == ("tiny", 1, True, 1)
    assert told["parity"]["label_flips"] == 0
    assert main(["list", "--models", str(tmp_path / "models"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"]["tiny"][0]["labels"] == ["stable"]
    (tmp_path / "tiny.csv").write_text("x,y\n1,1\n")
    assert main(["run", *source, "--json"]) == 1
    refused = capsys.readouterr()
    assert json.loads(refused.out)["code"] == 1
    assert 'expected a column "above"' in json.loads(refused.out)["error"]
    assert refused.err == ""


def test_what_nobody_foresaw_is_told_a_machine_too(
    source: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected exception is raised with its traceback, and the JSON object has its error."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(steps, "convert", fail)
    with pytest.raises(ZeroDivisionError):
        main(["run", *source, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["error"], told["code"]) == ("ZeroDivisionError: of all things", 1)


def test_worse_ends_with_4(tmp_path: Path, source: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A model worse than the stable one ends with 4 and isn't published, unless with --force."""
    assert main(["run", *source]) == 0
    tiny.write(tmp_path, tiny.SPEC.replace("LogisticRegression()", "LogisticRegression(C=1e-6)"))
    assert main(["run", *source]) == 4
    assert "error: worse than stable version 1 on the same " in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "models" / "tiny").iterdir()) == ["1", "labels.json"]
    assert main(["run", *source, "--force"]) == 0
    assert _labels(tmp_path) == {"stable": 2}


def test_parity_ends_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A conversion that disagrees ends with 3, shows the worst rows and likely cause, and publishes nothing."""
    spec = tiny.SPEC.replace(
        "pipeline(features, LogisticRegression())",
        'Pipeline([("scale", StandardScaler()), ("trees", DecisionTreeClassifier(random_state=0))])',
    ).replace(
        "from sklearn.linear_model import LogisticRegression\n",
        "from sklearn.pipeline import Pipeline\nfrom sklearn.preprocessing import StandardScaler\n"
        "from sklearn.tree import DecisionTreeClassifier\n",
    )
    source = tiny.write(tmp_path, spec)
    assert main(["run", *source]) == 3
    refused = capsys.readouterr().err
    assert "the worst:\n  {'x': " in refused
    assert "likely cause: StandardScaler comes before DecisionTreeClassifier" in refused
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("estimator", "code", "words"),
    [
        ("LinearSVC()", 1, "candidate linear: AttributeError: "),
        ("SVC(kernel=lambda a, b: a @ b.T, probability=False)", 1, "candidate linear: "),
        ("KNeighborsClassifier(metric='canberra')", 1, "skl2onnx can't convert it: "),
        ("Pipeline([('one', OneHotEncoder()), ('linear', LogisticRegression())])", 1, "candidate linear: ValueError: "),
    ],
)
def test_a_spec_that_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], estimator: str, code: int, words: str
) -> None:
    """A spec whose pipeline fails is rejected with the candidate's name and reason, without a traceback."""
    spec = tiny.SPEC.replace("pipeline(features, LogisticRegression())", f"Pipeline([('linear', {estimator})])")
    spec = (
        "from sklearn.neighbors import KNeighborsClassifier\nfrom sklearn.pipeline import Pipeline\n"
        "from sklearn.preprocessing import OneHotEncoder\nfrom sklearn.svm import SVC, LinearSVC\n" + spec
    )
    assert main(["run", *tiny.write(tmp_path, spec)]) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("candidates", "words"),
    [
        ("lambda features, seed: {}", "candidates: expected pipelines by name, at least one; got {}"),
        ("lambda features, seed: {'a': LogisticRegression()}", "candidates: expected pipelines by name"),
        ("lambda features, seed: 1 / 0", "candidates: ZeroDivisionError: division by zero"),
        ("lambda features: {}", "candidates: TypeError: "),
    ],
)
def test_candidates_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], candidates: str, words: str
) -> None:
    """A spec whose function returns no pipelines is rejected before anything is fitted."""
    spec = re.sub(r"candidates=.*", f"candidates={candidates},", tiny.SPEC)
    assert main(["run", *tiny.write(tmp_path, spec)]) == 1
    refused = capsys.readouterr()
    assert words in refused.err
    assert refused.out == ""


def test_broken_labels_are_told_before_the_work(
    tmp_path: Path, two: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Unreadable labels reject a run before anything is trained."""
    (tmp_path / "models" / "tiny" / "labels.json").write_text("{")
    assert main(["run", "--spec", str(tmp_path / "tiny.py"), "--data", str(tmp_path / "tiny.csv"), *two]) == 1
    refused = capsys.readouterr()
    assert "labels.json: " in refused.err
    assert refused.out == ""


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_every_command_is_documented(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter's page shows every command's help exactly, 100 columns wide."""
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert f"```\n{capsys.readouterr().out}```" in (ROOT / "docs" / "reference" / "export.md").read_text()
