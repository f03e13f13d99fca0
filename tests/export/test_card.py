"""Tests of the model card as a reader sees it."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import pytest
from msgspec.structs import replace

from export.card import card
from export.data.dataset import Dataset, Split
from export.titanic import TITANIC
from server.models.manifest import Manifest
from server.models.session import Model
from server.models.training_metadata import Comparison
from tests.export.carded import Carded, binary, multiclass, regression
from tests.export.opened import Page, drawn

ROOT: Final = Path(__file__).parents[2]
KINDS: Final = (binary, multiclass, regression)
SECTIONS: Final = ["takes", "data", "scores", "pictures", "features", "parity", "limits", "reproduce"]
HOSTILE: Final = "<script>alert('&')</script>"
AGAIN: Final = """
import hashlib
from export.card import card
from tests.export.carded import binary
made = binary()
print(hashlib.sha256(card(made.manifest, made.model, made.data, made.part)).hexdigest())
"""


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def made(request: pytest.FixtureRequest) -> Carded:
    """Return a model of each kind in turn."""
    kind: Callable[[], Carded] = request.param
    return kind()


@pytest.fixture(scope="module")
def page(made: Carded) -> Page:
    """Return the model's card."""
    return Page(drawn(made))


def test_page_is_the_same_again(made: Carded) -> None:
    """The same arguments give the same bytes."""
    assert drawn(made) == drawn(made)


def test_page_is_the_same_in_another_process(tmp_path: Path) -> None:
    """Another process with a different hash seed, matplotlibrc and time zone draws the same bytes."""
    (tmp_path / "matplotlibrc").write_text("axes.labelpad: 20\nxtick.direction: in\nfont.size: 30\n")
    other = {"PYTHONHASHSEED": "3", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", AGAIN], cwd=ROOT, env=os.environ | other, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hashlib.sha256(drawn(binary())).hexdigest()


def test_page_needs_nothing_from_outside(page: Page) -> None:
    """The page has no script, event handler or external address."""
    assert {"script", "link", "iframe", "object", "embed", "base", "form"}.isdisjoint({tag for tag, _ in page.tags})
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith(("on", "xmlns"))]
        for name, value in attributes.items():
            if name in {"href", "src", "xlink:href", "action", "data", "srcset"}:
                assert value.startswith(("#", "data:")), (tag, value)
            assert re.findall(r"url\((?!#)", value) == []
    style = (ROOT / "export" / "card" / "style.css").read_text()
    assert re.findall(r"@import|url\(", style) == []


def test_page_can_be_read_by_any_means(page: Page) -> None:
    """The page is accessible: named pictures, table headers with scopes, valid references and unique ids."""
    assert page.every("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.every("meta")
    assert all(each.get("aria-label") for each in page.every("svg") if "aria-hidden" not in each)
    assert all(each["role"] == "img" for each in page.every("svg") if "aria-hidden" not in each)
    assert {each.get("scope") for each in page.every("th")} == {"row", "col"}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    asked = {each[name].lstrip("#") for _, each in page.tags for name in ("href", "aria-labelledby") if name in each}
    assert asked <= set(ids)
    assert [tag for tag, _ in page.tags].count("h1") == 1


def test_sections_stand_in_their_order(page: Page) -> None:
    """The sections are those in docs/reference/card.md, and the links at the top lead to them."""
    assert [each["id"] for each in page.every("section")] == SECTIONS
    assert [each["href"] for each in page.every("a")] == [f"#{name}" for name in SECTIONS]


def test_every_figure_says_what_it_shows(page: Page) -> None:
    """Each figure has a title and a caption with a number."""
    assert len(page.figures) >= 8
    assert all(each["h3"] for each in page.figures)
    assert all(re.search(r"\d", each["figcaption"]) for each in page.figures)


@pytest.mark.parametrize(
    ("kind", "titles"),
    [
        (binary, ["ROC", "Precision and recall", "Calibration", "Confusion", "Probabilities by class"]),
        (multiclass, ["ROC", "Precision and recall", "Calibration", "Confusion"]),
        (regression, ["Predicted and true", "Residuals", "Distribution of the residuals"]),
    ],
)
def test_pictures_of_each_kind(kind: Callable[[], Carded], titles: list[str]) -> None:
    """Each kind has its own pictures, then importance, then partial dependence for each feature."""
    found = [each["h3"] for each in Page(drawn(kind())).figures]
    assert found[: len(titles) + 1] == [*titles, "Permutation importance"]
    assert sorted(found[len(titles) + 1 :]) == ["flag", "n", "side", "word", "x"]


def test_what_is_learnt_is_on_top() -> None:
    """The summary has the accuracy, and the deciding column has the highest importance."""
    made = binary()
    page = Page(drawn(made))
    assert made.manifest.metrics is not None
    share = 100 * made.manifest.metrics.held_out["accuracy"]
    assert f"Correct in {share:.1f}\u202f% of cases on 100 rows held out" in page.words
    caption = next(each["figcaption"] for each in page.figures if each["h3"] == "Permutation importance")
    assert caption.startswith("The most important feature is x: ")


def test_text_is_escaped() -> None:
    """A script as class, description, limit, feature or category is escaped, in pictures too."""
    page = Page(drawn(_hostile(binary(positive=HOSTILE))))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.words.count(HOSTILE) >= 10
    assert "<script>alert('&'…" in page.words, "cut short inside a picture"


def _hostile(made: Carded) -> Carded:
    """Return the model with a script as feature name in its file, manifest and data."""
    model = onnx.load_from_string(made.model._session._model_bytes)  # noqa: SLF001 # the file it was made from
    for node in model.graph.node:
        node.input[:] = [HOSTILE if name == "x" else name for name in node.input]
    model.graph.input[0].name = HOSTILE
    content = model.SerializeToString()
    features = [replace(each, name=HOSTILE) if each.name == "x" else each for each in made.manifest.features]
    reference = made.manifest.reference
    assert reference is not None
    told = {HOSTILE if name == "x" else name: each for name, each in reference.features.items()}
    manifest = replace(
        made.manifest,
        features=features,
        sha256=hashlib.sha256(content).hexdigest(),
        description=HOSTILE,
        limits=[HOSTILE],
        reference=replace(reference, features=told),
        provenance=replace(made.manifest.provenance, dataset=HOSTILE, estimator=HOSTILE, cpu=HOSTILE),
    )
    names = {"x": HOSTILE}
    part = made.part
    data = Dataset(made.data.table, made.data.X.rename(columns=names), made.data.y)
    split = Split(
        part.X_train.rename(columns=names), part.X_test.rename(columns=names), part.y_train, part.y_test, part.held_out
    )
    return Carded(manifest, Model(manifest, content), data, split, made.pipeline)


@pytest.mark.parametrize(("kind", "rows"), [(binary, 2), (multiclass, 3), (regression, 2)])
def test_few_rows_are_drawn_and_said(kind: Callable[..., Carded], rows: int) -> None:
    """A class with one held-out row is drawn, and the card warns that the rows are few."""
    made = kind(200, 20)
    places = [int((made.part.y_test == name).argmax()) for name in made.manifest.classes] or [0, 1]
    part = made.part
    few = Split(part.X_train, part.X_test.iloc[places], part.y_train, part.y_test[places], part.held_out)
    page = Page(card(made.manifest, made.model, made.data, few))
    assert f"Only {rows} rows are held out" in page.words
    assert len(page.figures) >= 8


def test_many_classes_are_cut_and_said() -> None:
    """Pictures show eight of ten classes and say so; the table has all."""
    page = Page(drawn(multiclass(600, 200, [f"class {place}" for place in range(10)])))
    captions = {each["h3"]: each["figcaption"] for each in page.figures}
    assert "The 8 classes with the most held-out rows are shown, 2 are not." in captions["ROC"]
    assert all(f"class {place}" in page.words for place in range(10))


def test_version_before_is_told_of() -> None:
    """The card says whether the version is better, worse by force, or not comparable."""
    made = binary(200, 60)
    better = Comparison(version=2, rows=60, loss="log_loss", difference=-0.05, interval=[-0.08, -0.02])
    assert (
        "Compared with version 2, the stable version at that time: significantly better; log loss per row 0.05 lower"
        in _words(made, replace(made.manifest, comparison=better))
    )
    worse = replace(better, difference=0.05, interval=[0.02, 0.08], forced=True)
    words = _words(made, replace(made.manifest, comparison=worse))
    assert "significantly worse" in words
    assert "published anyway, with --force" in words
    unlike = Comparison(version=2, rows=0, loss="", difference=0, interval=[], forced=True)
    assert "could not be compared with version 2" in _words(made, replace(made.manifest, comparison=unlike))
    assert "not compared with an earlier version" in _words(made, made.manifest)


def _words(made: Carded, manifest: Manifest) -> str:
    return Page(card(manifest, made.model, made.data, made.part)).words


def test_manifest_of_an_older_exporter_is_drawn() -> None:
    """Values that an older manifest lacks are computed or said to be missing."""
    made = multiclass(200, 60)
    words = _words(made, replace(made.manifest, metrics=None, reference=None, limits=[]))
    assert "The manifest has no scores" in words
    assert "stated no limits" in words


def test_limits_follow_from_the_data() -> None:
    """The card lists ranges beyond training, rare categories and the author's own limits."""
    made = binary()
    words = Page(drawn(made)).words
    low, high = np.nanmin(made.part.X_train["x"]), np.nanmax(made.part.X_train["x"])
    assert f"x{low:.3g} to {high:.3g}−9 to 9".replace("-", "−") in words  # noqa: RUF001 # the minus sign
    assert "side: fewer than 30 training rows have none (0)." in words
    assert "word: any string is allowed; the training rows have 3 different strings." in words
    assert "Not for people." in words


def test_command_makes_the_model_again() -> None:
    """The command has data and seed, and the spec unless it is the default one."""
    made = binary(200, 60)
    words = Page(drawn(made)).words
    assert "python -m export run --spec small_binary.py --data small.csv --seed 7" in words
    assert made.manifest.sha256 in words
    fetched = replace(made.manifest.provenance, dataset="openml-40945")
    words = _words(made, replace(made.manifest, name=TITANIC.name, provenance=fetched))
    assert "python -m export run --openml --seed 7" in words


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(scheme: str) -> None:
    """In both colour schemes text has a contrast of 4.5, lines of 3 (WCAG 2.2 AA)."""
    style = (ROOT / "export" / "card" / "style.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", light + (dark if scheme == "dark" else "")))
    for ground in ("page", "card"):
        assert min(_contrast(colours[name], colours[ground]) for name in ("ink", "muted", "link", "good")) >= 4.5
        assert min(_contrast(colours[f"series-{place}"], colours[ground]) for place in range(5)) >= 3


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
