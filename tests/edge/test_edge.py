"""Tests of requests through the Worker, its Durable Object and the container, and back."""

from typing import Any

import httpx
import pytest

from server.web.page import HEADERS, WEB
from tests.edge import behaviour
from tests.edge.stack import Local
from tests.passenger import DATATYPES, PASSENGER
from tests.server.support import blobs, files


def _tensors(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": name, "shape": [1, 1], "datatype": DATATYPES[name], "data": [value]}
            for name, value in record.items()
        ]
    }


def _answers(client: httpx.Client) -> list[float]:
    """Return the passenger's probability from a single record, from a batch, and from the Open Inference Protocol."""
    other = PASSENGER | {"pclass": 3, "sex": "male", "age": None}
    alone = client.post("/api/predict", json=PASSENGER).json()
    among = client.post("/api/predict", json={"records": [other, PASSENGER, other]}).json()
    infer = client.post("/v2/models/titanic/infer", json=_tensors(PASSENGER)).json()
    probabilities = next(each for each in infer["outputs"] if each["name"] == "probabilities")
    return [alone["probability"], among["predictions"][1]["probability"], probabilities["data"][1]]


def test_health_starts_no_container(cold: Local) -> None:
    """The Worker's own health check starts no container."""
    response = cold.edge.http.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert not cold.engine.running()


def test_the_page_starts_no_container(cold: Local) -> None:
    """The pages and their files are served without a container, with the server's headers and an ETag."""
    home = cold.edge.http.get("/")
    assert (home.status_code, home.headers["content-type"]) == (200, "text/html; charset=utf-8")
    script = cold.edge.http.get("/web/page.js")
    assert script.headers["content-type"].startswith("text/javascript")
    docs = cold.edge.http.get("/api/docs")
    assert docs.content == (WEB / "docs.html").read_bytes()
    for response in (home, script, docs):
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
        again = cold.edge.http.get(response.url, headers={"if-none-match": response.headers["etag"]})
        assert again.status_code == 304
    assert cold.edge.http.get("/web/nothing.js").json()["code"] == "not_found"
    assert not cold.engine.running()


def test_the_page_is_the_servers(local: Local, server: httpx.Client) -> None:
    """The Worker serves the server's own page, byte for byte, and forwards requests for the form."""
    assert local.edge.http.get("/").content == server.get("/").content
    form = "/api/models/titanic/form"
    assert local.edge.http.get(form).content == server.get(form).content


def test_a_cold_call_waits_for_its_prediction(cold: Local) -> None:
    """A request to a cold pool waits for the container that it starts."""
    response = cold.edge.predict()
    assert response.status_code == 200
    assert response.json()["label"] == "survived"
    assert len(cold.engine.running()) == 1


def test_every_way_gives_the_same_bits(local: Local, server: httpx.Client) -> None:
    """A record has the same prediction in any form, directly and through the Worker, bit for bit."""
    assert len({*_answers(server), *_answers(local.edge.http)}) == 1


def test_concurrent_cold_calls_share_one_start(cold: Local) -> None:
    """Fifty concurrent requests to a cold pool succeed with one start."""
    behaviour.cold_callers_share_one_start(cold.edge, cold.engine)


def test_a_large_body_passes(local: Local) -> None:
    """A body of thousands of records passes, and so does its response."""
    response = local.edge.predict({"records": [PASSENGER] * 5_000})
    assert response.status_code == 200
    assert len(response.json()["predictions"]) == 5_000


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/api/predict", PASSENGER | {"sex": "x"}, 400, "invalid_argument"),
        ("POST", "/api/predict", {"records": [PASSENGER] * 10_001}, 413, "payload_too_large"),
        ("GET", "/api/models/nothing", None, 404, "not_found"),
        ("GET", "/v2/models/nothing", None, 404, "not_found"),
    ],
)
def test_the_servers_errors_pass_unchanged(
    local: Local, server: httpx.Client, method: str, path: str, body: object, status: int, code: str
) -> None:
    """The server's error responses pass through the Worker unchanged."""
    through, direct = (client.request(method, path, json=body) for client in (local.edge.http, server))
    assert (through.status_code, through.json()["code"]) == (status, code)
    assert (through.status_code, through.content) == (direct.status_code, direct.content)


@pytest.mark.parametrize(("method", "path", "status", "code"), behaviour.NEVER_PASSES)
def test_what_never_passes_is_told_so(cold: Local, method: str, path: str, status: int, code: str) -> None:
    """The Worker rejects a path or method that clients may not use, without starting a container."""
    behaviour.what_never_passes_starts_nothing(cold.edge, cold.engine, method, path, (status, code))


def test_control_headers_are_stripped(local: Local) -> None:
    """A client can't choose the container's port by the platform's own header."""
    response = local.edge.predict(headers={"cf-container-target-port": "22"})
    assert response.status_code == 200


@pytest.mark.parametrize("report", [{}, {"x-lifeboat-report": "1"}, {"x-lifeboat-wait": "no", "x-lifeboat-load": "9"}])
def test_the_hops_own_words_are_no_callers(local: Local, report: dict[str, str]) -> None:
    """Internal headers in a client's request have no effect, and no response shows an internal header."""
    query = {name: str(value) for name, value in PASSENGER.items()}
    http = local.edge.http
    answers = [
        local.edge.predict(headers=report),
        local.edge.predict(PASSENGER | {"sex": "x"}, headers=report),
        http.post("/v2/models/titanic/infer", json=_tensors(PASSENGER), headers=report),
        http.put(files.BATCH, content=files.csv([PASSENGER]), headers=report),
        *(http.get("/api/predict", params=query, headers=report) for _ in range(2)),
    ]
    assert [each.status_code for each in answers] == [200, 400, 200, 200, 200, 200]
    assert [name for each in answers for name in each.headers if name.startswith("x-lifeboat-")] == []
    assert answers[-1].headers["lifeboat-cache"] == "hit"
    assert int(answers[-1].headers["age"]) >= 0


def test_the_request_id_comes_back(local: Local) -> None:
    """A valid request id comes back in the response; an invalid one is replaced."""
    assert local.edge.predict(headers={"x-request-id": "abc-7"}).headers["x-request-id"] == "abc-7"
    assert " " not in local.edge.predict(headers={"x-request-id": "a b"}).headers["x-request-id"]


def test_binary_tensors_pass(local: Local) -> None:
    """Binary tensors pass in both directions, with the header that gives the length of the JSON part."""
    infer = "/v2/models/titanic/infer"
    body, headers = blobs.request([PASSENGER], parameters={"binary_data_output": True})
    response = local.edge.http.post(infer, content=body, headers=headers)
    assert response.headers["content-type"] == "application/octet-stream"
    assert blobs.read(response) == blobs.read(local.edge.http.post(infer, json=_tensors(PASSENGER)))
