"""Cases for model control with the token, by REST and RPC.

They come last because they change the served models.
"""

from collections.abc import Iterator
from typing import Final

from tests.recorded.cases.calls import INFERENCE
from tests.recorded.exchange import TOKEN, Case
from tests.recorded.http1 import Fields, Http1, request
from tests.recorded.http2 import Http2
from tests.recorded.inputs import record
from tests.recorded.messages import enveloped, message

_TOKEN: Final = ("authorization", f"Bearer {TOKEN}")
_TOKENS: Final[dict[str, Fields]] = {
    "no token": [],
    "another token": [("authorization", "Bearer other")],
    "a token of another scheme": [("authorization", f"Basic {TOKEN}")],
    "a token in lower case": [("authorization", f"bearer {TOKEN}")],
    "a token of other bytes": [("authorization", "Bearer \xff")],
}


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for name, fields in _TOKENS.items():
        yield _rest(f"load with {name}", "titanic/load", b"", fields)
    for body in (b"", b"{}", b'{"parameters":{}}', b'{"parameters":{"config":"{}"}}', b"[]", b"{"):
        yield _rest(f"load with {body.decode()!r}", "titanic/load", body, [_TOKEN])
        yield _rest(f"versions: load with {body.decode()!r}", "titanic/load", body, [_TOKEN], "versions")
    for server in ("http2", "versions"):
        yield _rest(f"{server}: load of nothing", "nothing/load", b"", [_TOKEN], server)
        yield _rest(f"{server}: unload of nothing", "nothing/unload", b"", [_TOKEN], server)
    yield from _unloaded("versions", "ship")
    yield from _calls()
    yield from _unloaded("http2", "titanic")


def _rest(name: str, path: str, body: bytes, fields: Fields, server: str = "http2") -> Case:
    sent = request("POST", f"/v2/repository/models/{path}", body, fields)
    return Http1(f"control: {name}", "control", (sent,), server)


def _unloaded(server: str, model: str) -> Iterator[Case]:
    """Yield an unload and a load, each followed by requests that show the served models."""
    for action in ("unload", "load"):
        yield _rest(f"{server}: {action} of {model}", f"{model}/{action}", b"{}", [_TOKEN], server)
        for method, path, body in (
            ("GET", "/api/models", None),
            ("GET", f"/api/models/{model}", None),
            ("POST", f"/api/models/{model}/predict", record()),
            ("POST", "/api/predict", record()),
            ("POST", "/v2/repository/index", b"{}"),
            ("GET", "/v2/health/ready", None),
            ("GET", f"/v2/models/{model}/ready", None),
            ("GET", "/", None),
            ("GET", "/metrics", None),
        ):
            name = f"control: {server}: {method} {path} after {action}"
            yield Http1(name, "control", (request(method, path, body),), server)


def _calls() -> Iterator[Case]:
    stated = (("content-type", "application/grpc"), ("te", "trailers"))
    for name, fields in {"no token": stated, "the token": (*stated, _TOKEN)}.items():
        for method, model in (("Load", "titanic"), ("Load", "nothing"), ("Unload", "nothing")):
            path = f"{INFERENCE}/RepositoryModel{method}"
            body = enveloped(message((2, model)))
            yield Http2(f"control: grpc {method} of {model} with {name}", "control", path, body, fields)
    sent = request(
        "POST",
        f"{INFERENCE}/RepositoryModelLoad",
        b'{"modelName":"titanic"}',
        [("content-type", "application/json"), _TOKEN],
    )
    yield Http1("control: connect Load with the token", "control", (sent,), "http2")
