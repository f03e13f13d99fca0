"""Cases for pages, static files, descriptions, OpenAPI, metrics, and every method of each path."""

from collections.abc import Iterator
from typing import Final

from tests.recorded.exchange import Case
from tests.recorded.http1 import Http1, request

_FILES: Final = (
    "answer.js",
    "call.js",
    "docs.css",
    "docs.html",
    "docs.js",
    "icon.svg",
    "index.html",
    "main.html",
    "page.js",
    "style.css",
    "nothing.js",
    "..%2fapp.py",
    "",
)
_READ: Final = (
    ("page", "/"),
    ("page", "/?model=titanic"),
    ("page", "/?model=nothing"),
    ("page", "/?other=1"),
    ("page", "/api/docs"),
    ("page", "/api/docs/"),
    ("page", "/api/models/titanic/form"),
    ("page", "/api/models/nothing/form"),
    ("describe", "/api/openapi.json"),
    ("describe", "/api/models"),
    ("describe", "/api/models/"),
    ("describe", "/api/models/titanic"),
    ("describe", "/api/models/nothing"),
    ("describe", "/api/models/titanic/service.proto"),
    ("describe", "/api/models/nothing/service.proto"),
    ("describe", "/api/models/titanic/card"),
    ("describe", "/api/models/titanic/versions/1/card"),
    ("describe", "/api/models/titanic/versions/2/card"),
    ("describe", "/api/models/titanic/versions/one/card"),
    ("describe", "/api/models/titanic/labels/stable/card"),
    ("describe", "/api/models/titanic/labels/none/card"),
    ("drift", "/api/models/titanic/drift"),
    ("drift", "/api/models/titanic/drift?of=requests"),
    ("drift", "/api/models/titanic/drift?of=files"),
    ("drift", "/api/models/titanic/drift?of=rows"),
    ("drift", "/api/models/titanic/drift?since=1"),
    ("drift", "/api/models/titanic/versions/1/drift"),
    ("drift", "/api/models/titanic/versions/7/drift"),
    ("drift", "/api/models/titanic/labels/stable/drift"),
    ("drift", "/api/models/titanic/labels/none/drift"),
    ("drift", "/api/models/nothing/drift"),
    ("metrics", "/metrics"),
    ("metrics", "/metrics?name=x"),
    ("page", "/nothing"),
    ("page", "/api"),
    ("page", "/healthz"),
    ("page", "//api/models"),
    ("page", "/api/models/%74itanic"),
    ("page", "/api/models/tita%C3%A4nic"),
    ("page", "/api/models/%ff"),
)
_PATHS: Final = (
    "/",
    "/web/page.js",
    "/api/predict",
    "/api/models/titanic/predict",
    "/api/explain",
    "/api/batch",
    "/api/models",
    "/api/models/titanic",
    "/api/models/titanic/card",
    "/api/models/titanic/drift",
    "/api/models/titanic/form",
    "/api/models/titanic/service.proto",
    "/api/openapi.json",
    "/api/docs",
    "/v2",
    "/v2/health/ready",
    "/v2/models/titanic",
    "/v2/models/titanic/infer",
    "/v2/models/titanic/config",
    "/v2/models/stats",
    "/v2/repository/index",
    "/v2/repository/models/titanic/load",
    "/metrics",
    "/inference.GRPCInferenceService/ModelReady",
    "/lifeboat.titanic.v1.TitanicService/PredictStream",
)
_METHODS: Final = ("HEAD", "OPTIONS", "PUT", "DELETE", "PATCH")
_TAGGED: Final = ("/", "/api/docs", "/api/openapi.json", "/api/models/titanic/card", "/web/page.js")


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for interface, path in (*_READ, *(("page", f"/web/{name}") for name in _FILES)):
        yield Http1(f"GET {path}", interface, (request("GET", path),))
    for path in _PATHS:
        for method in _METHODS:
            body = b"" if method in {"PUT", "PATCH"} else None
            yield Http1(f"{method} {path}", "methods", (request(method, path, body),))
    for path in _TAGGED:
        for tag in ("*", '"other"', 'W/"other", *'):
            yield Http1(
                f"GET {path} with if-none-match {tag}",
                "conditional",
                (request("GET", path, fields=[("if-none-match", tag)]),),
            )
        for encoding in ("gzip", "br, zstd;q=0.5", "identity;q=0"):
            yield Http1(
                f"GET {path} with accept-encoding {encoding}",
                "describe",
                (request("GET", path, fields=[("accept-encoding", encoding)]),),
            )
