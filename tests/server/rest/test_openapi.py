"""GET /api/openapi.json: it has every route, and its examples equal the server's responses."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import msgspec
import pytest
from starlette.routing import Route

from server.app import create_app
from server.errors import CODES
from server.models.manifest import Golden, Output
from server.models.repository import Repository
from server.settings import Settings
from tests.server.support import small
from tests.server.support.in_process import InProcess
from tests.server.support.process import ROOT, serving
from tests.server.support.repositories import TRIPLE

PROTO: Final = ROOT / "server" / "rpc" / "proto"
NUMBERED: Final = """g (float[N, 1] x) => (int64[N] label, float[N, 2] probabilities) <float[2] at = {-1, 1}> {
  probabilities = Mul(x, at)
  label = ArgMax<axis = 1, keepdims = 0>(probabilities)
}"""
"""ONNX text of a classifier with the integer labels 0 and 1."""
RENAMED: Final = """g (float[N, 1] predicted_value) => (float[N, 1] value) {
  value = Add(predicted_value, predicted_value)
}"""
"""ONNX text of a doubling model whose input has an output column's name."""

Document = dict[str, Any]


class Operation(NamedTuple):
    """One operation of the document."""

    path: str
    method: str
    described: Document

    @property
    def requests(self) -> Iterator[tuple[str, str, Any]]:
        """Yield each example of a request body: its media type, its name, its value."""
        for media_type, content in self.described.get("requestBody", {}).get("content", {}).items():
            for name, example in content.get("examples", {}).items():
                yield media_type, name, example["value"]

    def answer(self, media_type: str, name: str, status: str = "200") -> Any:  # noqa: ANN401 # JSON or text
        """Return the example of a response."""
        return self.described["responses"][status]["content"][media_type]["examples"][name]["value"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Yield a client of a server with models of each kind.

    One of them has two versions and a label.
    """
    models = tmp_path_factory.mktemp("models")
    (models / "titanic").symlink_to(ROOT / "models" / "titanic")
    triple = small.onnx_bytes(TRIPLE)
    small.double(models, version=1)
    small.double(models, version=2)
    (models / "small" / "labels.json").write_text('{"stable": 1, "next": 2}')
    small.signs(models, name="signs")
    small.double(models, name="sm-all")  # the same identifier as "sm_all": one gets the typed service
    small.write(models, triple, small.manifest(triple, answers=((1.0, 3.0),), name="sm_all"))
    word = small.onnx_bytes(small.YES, opset=19)
    small.write(models, word, small.manifest(word, small.WORD, (("yes", 1.0), ("no", 0.0)), name="word"))
    small.write(models, small.onnx_bytes(NUMBERED), _numbered())
    with serving(LIFEBOAT_MODELS=str(models), LIFEBOAT_DEFAULT_MODEL="titanic") as client:
        yield client


def _numbered() -> Any:  # noqa: ANN401 # the manifest
    label = Output(name="label", datatype="INT64", shape=[-1], role="label")
    probabilities = Output(name="probabilities", datatype="FP32", shape=[-1, 2], role="probabilities")
    return small.manifest(
        small.onnx_bytes(NUMBERED),
        name="numbered",
        kind="multiclass",
        classes=["0", "1"],
        outputs=[label, probabilities],
        golden=Golden(records=[{"x": 0.5}, {"x": -0.5}], outputs={"label": [1, 0]}, tolerance=1e-5),
    )


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> Document:
    """Return the OpenAPI document of the server."""
    content: Document = client.get("/api/openapi.json").json()
    return content


@pytest.fixture(scope="module")
def operations(document: Document) -> list[Operation]:
    """Return every operation of the document."""
    return [
        Operation(path, method, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]


def test_every_route_is_documented(document: Document) -> None:
    """The document has exactly the paths and methods of the routes."""
    app = create_app(Repository.load(ROOT / "models"), Settings())
    routes = [route for route in app.routes if isinstance(route, Route)]
    assert len(routes) == len(app.routes) > 20
    known = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    matched: set[tuple[str, str]] = set()
    for route in routes:
        for method in (route.methods or set()) - {"HEAD"}:
            found = {each for each in known if each[1] == method and route.path_regex.fullmatch(each[0])}
            assert found, f"{method} {route.path} is not documented"
            matched |= found
    rest = {path for path, _ in known - matched}
    assert rest == {path for path in document["paths"] if "." in path.split("/")[1]}


def test_every_call_is_documented(client: httpx.Client, document: Document) -> None:
    """The document has exactly the RPC methods of the .proto files; all are served."""
    files = [path.read_text() for path in PROTO.glob("*.proto")]
    files += [
        client.get(f"/api/models/{model['name']}/service.proto").text
        for model in client.get("/api/models").json()["models"]
    ]
    declared = {
        f"/{package[1]}.{service[1]}/{method}"
        for text in files
        if (package := re.search(r"^package ([\w.]+);", text, re.MULTILINE))
        if (service := re.search(r"^service (\w+)", text, re.MULTILINE))
        for method in re.findall(r"^  rpc (\w+)", text, re.MULTILINE)
    }
    calls = {path for path in document["paths"] if "." in path.split("/")[1]}
    assert calls == declared
    for path in calls:
        assert client.post(path, content=b"", headers={"content-type": "none/such"}).status_code == 415
        answer = client.get(path, params={"connect": "v1", "encoding": "json", "message": "[]"})
        assert (answer.status_code == 405) == ("get" not in document["paths"][path])


def test_every_example_is_answered_as_it_says(client: httpx.Client, operations: list[Operation]) -> None:
    """The server's response to each example request equals the example response in every bit."""
    seen = set()
    for operation in operations:
        for media_type, name, value in operation.requests:
            body = {"content": value} if isinstance(value, str) else {"json": value}
            headers = {"content-type": media_type}
            answer = client.request(operation.method, operation.path, headers=headers, **body)
            got = answer.text if isinstance(value, str) else answer.json()
            assert (answer.status_code, got) == (200, operation.answer(media_type, name)), operation.path
            seen.add((operation.path, operation.method, media_type, name))
    assert len({path for path, *_ in seen}) > 50
    assert {name for *_, name in seen} == {"record", "records", "csv", "ndjson"}


def test_every_query_is_answered_as_it_says(client: httpx.Client, operations: list[Operation]) -> None:
    """The response to each GET with example parameters equals the example response."""
    asked = [each for each in operations if each.method == "get" and "." not in each.path]
    counted = 0
    for operation in asked:
        content = operation.described["responses"]["200"]["content"].get("application/json", {})
        for name, example in content.get("examples", {}).items():
            query = {
                each["name"]: each["examples"][name]["value"]
                for each in operation.described["parameters"]
                if name in each.get("examples", {})
            }
            assert client.get(operation.path, params=query).json() == example["value"]
            counted += 1
    assert counted > 20


def test_the_wrong_record_is_refused_as_it_says(client: httpx.Client, operations: list[Operation]) -> None:
    """Every prediction operation has an example of an invalid record, with the exact error message."""
    asked = [each for each in operations if each.path.endswith("/predict") and each.method == "post"]
    assert len(asked) > 10
    for operation in asked:
        example = operation.described["responses"]["400"]["content"]["application/json"]["examples"]["wrong"]
        answer = client.post(operation.path, json=example["x-request"])
        assert (answer.status_code, answer.json()) == (400, example["value"])


def test_every_code_has_an_answer(document: Document, operations: list[Operation]) -> None:
    """Each error code has a response with an example, and every reference resolves."""
    responses = document["components"]["responses"]
    for code, status in CODES.items():
        content = responses[str(status.http)]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Error"}
        assert content["examples"][code]["value"]["code"] == code
    for operation in operations:
        assert {"405"} <= set(operation.described["responses"])
    for found in re.findall(r"'\$ref': '#/components/(\w+)/([^']+)'", str(document)):
        assert found[1] in document["components"][found[0]]


def test_labels_are_what_the_model_answers(document: Document) -> None:
    """The schema has integer labels as integers and string labels as strings."""
    schemas = document["components"]["schemas"]
    assert schemas["numbered.1.Answer"]["properties"]["label"]["enum"] == [0, 1]
    assert schemas["signs.1.Answer"]["properties"]["label"]["enum"] == small.CLASSES


def test_operations_are_told_apart(operations: list[Operation], document: Document) -> None:
    """Each operation has a unique id, a described tag, and a summary."""
    ids = [each.described["operationId"] for each in operations]
    assert len(set(ids)) == len(ids)
    tags = {tag["name"] for tag in document["tags"]}
    assert {tag for each in operations for tag in each.described["tags"]} == tags
    assert all(each.described["summary"] for each in operations)


def test_keys(document: Document, operations: list[Operation]) -> None:
    """The Worker's key is optional on all operations; only model control takes the operator's token."""
    assert document["security"] == [{}, {"key": []}, {"bearer": []}]
    controlled = {each.path for each in operations if each.described.get("security") == [{"token": []}]}
    assert {path.rpartition("/")[2] for path in controlled} == {
        "load", "unload", "RepositoryModelLoad", "RepositoryModelUnload",
    }  # fmt: skip


def test_who_has_it_is_told_so(tmp_path: Path) -> None:
    """The document has an ETag, which changes when other versions are served."""
    small.double(tmp_path)
    repository = Repository.load(tmp_path)
    with InProcess(repository) as client:
        first = client.get("/api/openapi.json")
        known = {"if-none-match": first.headers["etag"]}
        assert client.get("/api/openapi.json", known).status_code == 304
        small.double(tmp_path, version=2)
        repository.replace(repository.read("small"))
        second = client.get("/api/openapi.json", known)
    assert second.status_code == 200
    assert "/api/models/small/versions/2/predict" in second.json()["paths"]


def test_a_model_that_is_gone_is_in_it_no_longer(tmp_path: Path) -> None:
    """An unloaded model is removed from the document, even the default model."""
    small.double(tmp_path)
    small.double(tmp_path, name="other")
    repository = Repository.load(tmp_path, "small")
    with InProcess(repository) as client:
        assert "/api/predict" in client.get("/api/openapi.json").json()["paths"]
        repository.unload("small")
        paths = client.get("/api/openapi.json").json()["paths"]
    assert "/api/models/other/predict" in paths
    assert not {path for path in paths if "small" in path or path == "/api/predict"}


def test_what_is_refused_is_no_example(tmp_path: Path) -> None:
    """Examples respect the row limit and contain no CSV that can't be scored."""
    column = msgspec.structs.replace(small.X, name="predicted_value")
    model = small.onnx_bytes(RENAMED)
    small.write(tmp_path, model, small.manifest(model, column, ((1.0, 2.0), (2.0, 4.0))))
    with InProcess(Repository.load(tmp_path), Settings(max_rows=1)) as client:
        paths = client.get("/api/openapi.json").json()["paths"]
        content = paths["/api/predict"]["post"]["requestBody"]["content"]["application/json"]
        several = content["examples"]["records"]["value"]
        assert client.post("/api/predict", several).status_code == 200
    assert "examples" not in paths["/api/batch"]["post"]["requestBody"]["content"]["text/csv"]
