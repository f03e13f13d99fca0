"""GET /api/models: list and describe the served models."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.models.repository import Repository
from tests.server.support import small
from tests.server.support.in_process import InProcess


@pytest.fixture
def manifest() -> dict[str, Any]:
    """Return the committed manifest as JSON."""
    path = Path(__file__).parents[3] / "models" / "titanic" / "1" / "manifest.json"
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_list(server: httpx.Client, manifest: dict[str, Any]) -> None:
    """The list names the default model, and each model with its versions and labels."""
    titanic = {
        "name": "titanic",
        "version": "1",
        "versions": ["1"],
        "labels": {"stable": "1"},
        "kind": "binary",
        "description": manifest["description"],
    }
    assert server.get("/api/models").json() == {"default": "titanic", "models": [titanic]}


def test_description_holds_the_manifest(server: httpx.Client, manifest: dict[str, Any]) -> None:
    """A model's description has the manifest's target, classes, metrics, parity, provenance and digest."""
    description = server.get("/api/models/titanic").json()
    for name in ("target", "classes", "positive_class", "metrics", "parity", "provenance", "sha256"):
        assert description[name] == manifest[name]


def test_features_are_written_out(server: httpx.Client, manifest: dict[str, Any]) -> None:
    """Every feature has all public members, null if absent, and no internal ones."""
    features = server.get("/api/models/titanic").json()["features"]
    absent = {"nullable": False, "categories": None, "minimum": None, "maximum": None}
    hidden = {"null_value", "field_number"}
    assert features == [
        absent | {name: value for name, value in feature.items() if name not in hidden}
        for feature in manifest["features"]
    ]


def test_example_is_answered(server: httpx.Client) -> None:
    """The example in a model's description is a valid prediction request."""
    example = server.get("/api/models/titanic").json()["example"]
    assert server.post("/api/predict", json=example).status_code == 200


def test_unknown_model(server: httpx.Client) -> None:
    """A request for a model that isn't served is rejected with 404."""
    response = server.get("/api/models/nobody")
    assert response.status_code == 404
    words = "model 'nobody' is not served; there is titanic"
    assert response.json() == {"error": words, "code": "not_found", "field": "model"}


def test_several_models_and_versions(models: Path) -> None:
    """All models are listed with all their versions, and described by their default version."""
    small.double(models, version=2)
    small.double(models, version=10)
    with InProcess(Repository.load(models, "titanic")) as client:
        listed = client.get("/api/models").json()
        described = client.get("/api/models/small").json()
    assert (listed["default"], [each["name"] for each in listed["models"]]) == ("titanic", ["small", "titanic"])
    assert (described["version"], described["versions"], described["labels"]) == ("10", ["2", "10"], {})
    assert (described["kind"], described["positive_class"], described["metrics"]) == ("regression", None, None)


def test_openapi_describes_queries(server: httpx.Client, manifest: dict[str, Any]) -> None:
    """Each feature is a GET parameter with its range and categories.

    A nullable feature may be omitted or empty.
    """
    path = server.get("/api/openapi.json").json()["paths"]["/api/models/titanic/versions/1/predict"]
    parameters = {each["name"]: each for each in path["get"]["parameters"] if each.get("in") == "query"}
    assert [*parameters] == [feature["name"] for feature in manifest["features"]]
    for feature in manifest["features"]:
        described = parameters[feature["name"]]
        nullable = feature.get("nullable", False)
        assert (described["in"], described["required"]) == ("query", not nullable)
        assert described.get("allowEmptyValue", False) == nullable
        assert described["schema"].get("enum") == feature.get("categories")
    assert parameters["age"]["schema"] | {"examples": []} == {
        "type": ["number", "null"], "minimum": 0, "maximum": 120, "examples": [],
    }  # fmt: skip
    assert {"200", "304", "400", "404", "413", "429"} <= set(path["get"]["responses"])
