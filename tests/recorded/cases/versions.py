"""Cases for two models with versions and labels: paths, defaults, drift."""

from collections.abc import Iterator
from typing import Final

from tests.recorded.exchange import Case
from tests.recorded.http1 import Http1, request
from tests.recorded.inputs import CSV, QUERY, csv_rows, encoded, infer, record, records

_SERVER: Final = "versions"
_PLACES: Final = (
    "titanic",
    "titanic/versions/1",
    "titanic/versions/2",
    "titanic/versions/3",
    "titanic/labels/stable",
    "titanic/labels/next",
    "titanic/labels/none",
    "ship",
    "ship/versions/1",
    "ship/labels/stable",
)
_READ: Final = (
    "/",
    "/?model=ship",
    "/api/models",
    "/api/models/titanic",
    "/api/models/ship",
    "/api/models/ship/form",
    "/api/models/ship/service.proto",
    "/api/openapi.json",
    "/v2/models/ship",
    "/v2/models/titanic",
    "/v2/models/titanic/ready",
    "/v2/models/titanic/versions/3/ready",
    "/v2/health/ready",
    "/v2/models/titanic/config",
)


def cases() -> Iterator[Case]:
    """Yield the cases, with drift first, while its rows are known."""
    for at in range(4):
        body = encoded({"records": records(100)})
        yield _case(f"100 records, {at}", "predict", request("POST", "/api/predict", body))
    yield _case("a file of 300 rows", "batch", request("PUT", "/api/batch", csv_rows(300)))
    for query in ("", "?of=requests", "?of=files"):
        path = f"/api/models/titanic/drift{query}"
        yield _case(f"GET {path}", "drift", request("GET", path))
    for path in _READ:
        yield _case(f"GET {path}", "describe", request("GET", path))
    for place in _PLACES:
        yield from _place(f"/api/models/{place}")
    for path in ("titanic/versions/2", "titanic/versions/3", "ship"):
        sent = request("POST", f"/v2/models/{path}/infer", infer())
        yield _case(f"POST /v2/models/{path}/infer", "v2", sent)
    yield _case("POST /v2/repository/index", "v2", request("POST", "/v2/repository/index", b"{}"))
    yield _case("the index of what is ready", "v2", request("POST", "/v2/repository/index", b'{"ready":true}'))
    for service in ("titanic.v1.TitanicService", "ship.v1.ShipService", "titanic.v2.TitanicService"):
        path = f"/lifeboat.{service}/Predict"
        sent = request("POST", path, record(), [("content-type", "application/json")])
        yield _case(f"POST {path}", "connect", sent)
    yield _case("GET /metrics", "metrics", request("GET", "/metrics"))


def _place(path: str) -> Iterator[Case]:
    yield _case(f"POST {path}/predict", "predict", request("POST", f"{path}/predict", record()))
    yield _case(f"GET {path}/predict", "predict", request("GET", f"{path}/predict?{QUERY}"))
    yield _case(f"POST {path}/explain", "explain", request("POST", f"{path}/explain", record()))
    yield _case(f"PUT {path}/batch", "batch", request("PUT", f"{path}/batch", CSV.encode()))
    yield _case(f"GET {path}/card", "describe", request("GET", f"{path}/card"))


def _case(name: str, interface: str, sent: bytes) -> Case:
    return Http1(f"versions: {name}", interface, (sent,), _SERVER)
