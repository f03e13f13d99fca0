"""The page as it is sent: its HTML before any script, and its headers."""

import html
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import msgspec
import pytest

from server.models.repository import Repository
from server.web.page import WEB
from server.web.static_site import write
from tests.passenger import PASSENGER
from tests.server.support import every, small
from tests.server.support.in_process import InProcess

ROOT = Path(__file__).parents[3]
RUDE = "<b>\"a' & $model"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return a repository of three models: Titanic's, a three-class model, a model of every datatype."""
    folder = tmp_path_factory.mktemp("models")
    small.signs(folder, name="signs")
    every.load(folder)
    shutil.copytree(ROOT / "models", folder, dirs_exist_ok=True)
    return Repository.load(folder, "titanic")


@pytest.fixture(scope="module")
def app(repository: Repository) -> Iterator[InProcess]:
    """Yield a server of the repository."""
    with InProcess(repository) as served:
        yield served


def controls(page: str) -> dict[str, list[dict[str, str]]]:
    """Return the attributes of the form's inputs and options, by the name that each sends."""
    found: dict[str, list[dict[str, str]]] = {}
    name, form = "", page.partition('<form id="record"')[2].partition("</form>")[0]
    for tag, attributes in re.findall(r"<(input|select|option)((?:\s[\w-]+(?:=\"[^\"]*\")?)*)>", form):
        given = {key: html.unescape(value) for key, value in re.findall(r"([\w-]+)(?:=\"([^\"]*)\")?", attributes)}
        if tag == "select":
            name = given["name"]
        elif tag == "option" or "name" in given:
            found.setdefault(given.get("name", name), []).append(given)
    return found


def test_the_form_is_in_the_page(app: InProcess) -> None:
    """The page has each feature's field before any script.

    The manifest gives the field's kind, limits, example, and the choice of null.
    """
    page = app.get("/").text
    found = controls(page)
    assert set(PASSENGER) <= set(found)
    assert [each["value"] for each in found["pclass"]] == ["1", "2", "3"]
    assert [each["value"] for each in found["embarked"]] == ["C", "Q", "S", ""]
    assert "checked" in found["sex"][0]
    (age,) = found["age"]
    assert (age["type"], age["min"], age["max"], age["step"], age["value"]) == ("number", "0", "120", "any", "29")
    assert "required" not in age
    (sibsp,) = found["sibsp"]
    assert (sibsp["step"], sibsp["min"]) == ("1", "0")
    assert "required" in sibsp
    assert '<form id="record" method="get" action="/api/predict">' in page
    for each in (age, sibsp):
        help_id = each["aria-describedby"].split()[0]
        assert f'id="{help_id}"' in page


def test_what_the_form_sends_is_answered(app: InProcess) -> None:
    """The untouched form's query gets a prediction, for every model."""
    for name, action in (
        ("titanic", "/api/predict"),
        ("signs", "/api/models/signs/predict"),
        ("small", "/api/models/small/predict"),
    ):
        page = app.get(f"/?model={name}").text
        assert f'action="{action}"' in page
        sent = {
            key: next((each for each in choices if {"checked", "selected"} & set(each)), choices[0])["value"]
            for key, choices in controls(page).items()
        }
        answer = app.get(f"{action}?{urlencode(sent)}")
        assert answer.status_code == 200, answer.text


def test_every_datatype_has_its_field(app: InProcess) -> None:
    """Each datatype has its control.

    Booleans are two choices, integers have limits if a browser's numbers are exact, text is text.
    """
    found = controls(app.get("/api/models/small/form").text)
    assert set(found) == set(every.ROWS)
    assert [each["value"] for each in found["bool"]] == ["true", "false"]
    assert [each["value"] for each in found["category"]] == ["yes", "no", ""]
    assert (found["int8"][0]["min"], found["int8"][0]["max"]) == ("-128", "127")
    assert "max" not in found["uint64"][0]
    assert "inputmode" not in found["int8"][0]
    assert found["bytes"][0]["type"] == "text"
    assert {found[name][0]["step"] for name in ("fp16", "fp32", "fp64")} == {"any"}


def test_what_a_manifest_says_is_text(tmp_path: Path) -> None:
    """Names and texts of a manifest are escaped everywhere: they never become markup."""
    model = small.onnx_bytes(small.DOUBLE)
    feature = msgspec.structs.replace(small.X, description=RUDE)
    small.write(tmp_path, model, small.manifest(model, feature, description=RUDE, target=RUDE, limits=[RUDE]))
    with InProcess(Repository.load(tmp_path)) as app:
        page = app.get("/").text
    assert "<b>" not in page
    assert page.count(html.escape(RUDE)) >= 4


def test_nothing_of_it_is_inline_or_elsewhere(app: InProcess) -> None:
    """The page has no inline scripts or styles, and names no other host.

    Its policy forbids both.
    """
    answer = app.get("/")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=\"/web/)", answer.text)
    assert not re.search(r"(?:src|href|action)=\"(?!/|#)", answer.text)
    for path in WEB.glob("*.js"):
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", path.read_text()), path.name


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html"),
        ("/web/page.js", "text/javascript"),
        ("/web/style.css", "text/css"),
        ("/web/icon.svg", "image/svg+xml"),
        ("/api/models/titanic/form", "text/html"),
    ],
)
def test_what_is_there_is_not_sent_again(app: InProcess, path: str, media_type: str) -> None:
    """Page and files have an ETag, are revalidated each time, and get 304 if unchanged."""
    answer = app.get(path)
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    again = app.get(path, {"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/web/nothing.js", "/web/index.html", "/web/main.html", "/web/", "/?model=other", "/api/models/other/form"],
)
def test_what_is_not_there_is_told_as_ever(app: InProcess, path: str) -> None:
    """A missing file, a template, and an unknown model are rejected with 404."""
    answer = app.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_page_is_asked_for_its_head(server: httpx.Client) -> None:
    """HEAD returns the page's headers without the page."""
    whole, head = server.get("/"), server.head("/")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == whole.headers["etag"]
    assert head.headers["content-length"] == str(len(whole.content))


def test_models_are_chosen_among(app: InProcess) -> None:
    """With several models the page links to each, and marks the current one."""
    page = app.get("/?model=signs").text
    assert re.findall(r'href="/\?model=(\w+)"( aria-current="page")?', page) == [
        ("signs", ' aria-current="page"'),
        ("small", ""),
        ("titanic", ""),
    ]
    assert 'aria-label="Models"' not in _alone()


def _alone() -> str:
    with InProcess(Repository.load(ROOT / "models")) as app:
        return app.get("/").text


def test_the_page_is_written_as_files(tmp_path: Path, app: InProcess, repository: Repository) -> None:
    """The page written as files equals the server's responses; an unchanged file isn't written again."""
    (tmp_path / "old.html").write_text("an older page's")
    write(repository, tmp_path)
    assert (tmp_path / "index.html").read_bytes() == app.get("/").content
    assert (tmp_path / "web" / "page.js").read_bytes() == app.get("/web/page.js").content
    assert (
        f"  content-security-policy: {app.get('/').headers['content-security-policy']}\n"
        in (tmp_path / "_headers").read_text()
    )
    assert not (tmp_path / "old.html").exists()
    before = (tmp_path / "index.html").stat().st_mtime_ns
    write(repository, tmp_path)
    assert (tmp_path / "index.html").stat().st_mtime_ns == before
