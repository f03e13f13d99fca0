"""POST /api/predict: responses to valid requests."""

from typing import Any

import httpx
import pytest

from tests.passenger import DATATYPES

PATHS = (
    "/api/predict",
    "/api/models/titanic/predict",
    "/api/models/titanic/versions/1/predict",
    "/api/models/titanic/labels/stable/predict",
)


def test_one_record_gets_one_answer(server: httpx.Client, passenger: dict[str, Any]) -> None:
    """The response has the model, its version, the label and each class's probability."""
    response = server.post("/api/predict", json=passenger)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    answer = response.json()
    assert list(answer) == ["model", "version", "label", "probability", "probabilities"]
    assert (answer["model"], answer["version"], answer["label"]) == ("titanic", "1", "survived")
    assert answer["probabilities"] == {
        "died": pytest.approx(1 - answer["probability"]),
        "survived": answer["probability"],
    }
    assert answer["probability"] == pytest.approx(0.8986632, abs=1e-5)


def test_probability_is_the_positive_class_whatever_the_label(server: httpx.Client, passenger: dict[str, Any]) -> None:
    """The probability is the positive class's, also if the label is the other class."""
    answer = server.post("/api/predict", json=passenger | {"pclass": 3, "sex": "male"}).json()
    assert answer["label"] == "died"
    assert answer["probability"] == answer["probabilities"]["survived"] < 0.5


def test_records_get_one_answer_each_in_order(server: httpx.Client, passenger: dict[str, Any]) -> None:
    """A list of records gets a list of predictions in the same order."""
    records = [passenger | {"sex": sex} for sex in ("male", "female", "male")]
    answer = server.post("/api/predict", json={"records": records}).json()
    assert list(answer) == ["model", "version", "predictions"]
    assert [each["label"] for each in answer["predictions"]] == ["died", "survived", "died"]


def test_list_of_one_record_stays_a_list(server: httpx.Client, passenger: dict[str, Any]) -> None:
    """A list with one record gets a list with one prediction."""
    assert len(server.post("/api/predict", json={"records": [passenger]}).json()["predictions"]) == 1


@pytest.mark.parametrize("name", ["age", "fare", "embarked"])
def test_absent_and_null_are_the_same(server: httpx.Client, passenger: dict[str, Any], name: str) -> None:
    """An omitted nullable feature gives the same prediction as null, and another than a value."""
    null = server.post("/api/predict", json=passenger | {name: None})
    absent = server.post("/api/predict", json={key: value for key, value in passenger.items() if key != name})
    assert null.status_code == 200
    assert absent.json() == null.json()
    assert null.json()["probability"] != server.post("/api/predict", json=_other(passenger, name)).json()["probability"]


def _other(passenger: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the passenger with a value of `name` whose prediction differs from that for null."""
    return passenger | {name: {"age": 80, "fare": 0, "embarked": "S"}[name]}


@pytest.mark.parametrize("change", [{"age": 0}, {"age": 120}, {"age": 0.1667}, {"fare": 0}, {"fare": 3.4e38}])
def test_limits_themselves_are_allowed(server: httpx.Client, passenger: dict[str, Any], change: dict[str, Any]) -> None:
    """Both ends of a feature's range are valid."""
    assert server.post("/api/predict", json=passenger | change).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_every_path_of_the_model_answers_the_same(server: httpx.Client, passenger: dict[str, Any], path: str) -> None:
    """All four paths of the default model give equal responses."""
    answer = server.post(path, json=passenger)
    assert answer.status_code == 200
    assert answer.json() == server.post("/api/predict", json=passenger).json()


def test_company_does_not_change_an_answer(server: httpx.Client, passengers: list[dict[str, Any]]) -> None:
    """A record gets bit-identical probabilities alone and among 1 to 50 others."""
    record = passengers[700]
    alone = server.post("/api/predict", json=record).json()["probabilities"]
    for others in range(1, 51):
        records = [*passengers[:others], record]
        together = server.post("/api/predict", json={"records": records}).json()["predictions"]
        assert len(together) == others + 1
        assert together[-1]["probabilities"] == alone


def test_both_interfaces_answer_the_same_bits(server: httpx.Client, passengers: list[dict[str, Any]]) -> None:
    """REST and the Open Inference Protocol give bit-identical probabilities for a record."""
    datatypes = {each["name"]: each["datatype"] for each in server.get("/v2/models/titanic").json()["inputs"]}
    for record in passengers[::131]:
        inputs = [
            {"name": name, "shape": [1, 1], "datatype": datatypes[name], "data": [value]}
            for name, value in record.items()
        ]
        outputs = server.post("/v2/models/titanic/infer", json={"inputs": inputs}).json()["outputs"]
        data = {output["name"]: output["data"] for output in outputs}
        answer = server.post("/api/predict", json=record).json()
        assert data["label"] == [answer["label"]]
        assert data["probabilities"] == [answer["probabilities"]["died"], answer["probabilities"]["survived"]]


@pytest.mark.parametrize(
    ("path", "field", "words"),
    [
        ("/api/models/nobody/predict", "model", "model 'nobody' is not served; there is titanic"),
        (
            "/api/models/titanic/versions/9/predict",
            "version",
            "model 'titanic' has no version '9'; its versions: 1",
        ),
        ("/api/models/titanic/versions/01/predict", "version", "model 'titanic' has no version '01'; its versions: 1"),
        ("/api/models/titanic/labels/nil/predict", "label", "model 'titanic' has no label 'nil'; its labels: stable"),
    ],
)
def test_unknown_model_version_or_label(
    server: httpx.Client, passenger: dict[str, Any], path: str, field: str, words: str
) -> None:
    """An unknown model, version or label is rejected with 404 and the names that exist."""
    response = server.post(path, json=passenger)
    assert response.status_code == 404
    assert response.json() == {"error": words, "code": "not_found", "field": field}


@pytest.mark.parametrize("path", ["/web", "/api", "/api/predict/", "/api/predictions", "/v3"])
def test_unknown_path(server: httpx.Client, passenger: dict[str, Any], path: str) -> None:
    """An unknown path is rejected with 404 and the error envelope, never redirected."""
    response = server.post(path, json=passenger)
    assert response.status_code == 404
    words = f"there is nothing at {path}; GET /api/models lists what is served"
    assert response.json() == {"error": words, "code": "not_found"}


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_wrong_method(server: httpx.Client, method: str) -> None:
    """A method that the path doesn't have is rejected with 405 and Allow."""
    response = server.request(method, "/api/predict")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, POST")
    words = f"/api/predict takes GET, HEAD, POST, not {method}"
    assert response.json() == {"error": words, "code": "method_not_allowed"}


def test_wrong_method_where_several_are_right(server: httpx.Client) -> None:
    """The methods in Allow are always in the same order."""
    assert server.post("/api/models").headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/api/predict", "/v2/models/titanic/infer"])
def test_whole_numbers_with_a_point(server: httpx.Client, passenger: dict[str, Any], path: str) -> None:
    """Integers written as 1.0 are accepted: some clients write all numbers as floats."""
    floats = {name: float(value) if isinstance(value, int) else value for name, value in passenger.items()}
    bodies: list[Any] = []
    for record in (passenger, floats):
        tensors = [
            {"name": name, "shape": [1, 1], "datatype": datatype, "data": [record[name]]}
            for name, datatype in DATATYPES.items()
        ]
        bodies.append({"inputs": tensors} if path.startswith("/v2") else {"records": [record, passenger]})
    right, with_points = [server.post(path, json=body) for body in bodies]
    assert right.status_code == 200
    assert with_points.json() == right.json()
    single = [server.post("/api/predict", json=record).json() for record in (passenger, floats)]
    assert single[0] == single[1]


@pytest.mark.parametrize("value", [1.5, 1e300, -1.0])
def test_other_numbers_are_no_integers(server: httpx.Client, passenger: dict[str, Any], value: float) -> None:
    """A number with a fraction, or outside the range, is rejected for an integer feature."""
    response = server.post("/api/predict", json=passenger | {"sibsp": value})
    assert (response.status_code, response.json()["field"]) == (400, "sibsp")
