"""Measured servers: this server, the baselines, and the peers that peer.toml files describe."""

import base64
import json
import os
import struct
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.sample_tensors import Columns, as_binary, as_json, one, passengers

ROOT: Final = Path(__file__).parents[1]
BUILD: Final = ROOT / ".build" / "bench"
PEERS: Final = ROOT / "bench" / "peers"
BASELINES: Final = ROOT / "bench" / "baselines"
MODEL: Final = ROOT / "models" / "titanic" / "1" / "model.onnx"

PROBABILITY: Final = 0.8986632227897644
"""The model's probability for PASSENGER."""
TOLERANCE: Final = 1e-4
PASSENGER: Final = {
    "pclass": 1,
    "sex": "female",
    "age": 29,
    "sibsp": 0,
    "parch": 0,
    "fare": 211.3375,
    "embarked": "S",
}
RECORD: Final = json.dumps(PASSENGER, separators=(",", ":")).encode()
INFER: Final = "/v2/models/titanic/infer"
MANY_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Call:
    """One request, and the check of its response."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    answer: tuple[str | int, ...] | None = None
    """Keys of the probability in the JSON response. None: the response is the request's body."""
    grpc: bool = False
    """Whether to use HTTP/2. The response is protobuf with the probability as a float or double."""
    most: int = 0
    """Maximum requests on one connection; 0: no limit."""
    binary: bool = False
    """Whether the response has binary tensors after its JSON."""
    rows: int = 1
    what: str = ""
    """Label that distinguishes this row from the server's other rows."""

    def is_right(self, answer: bytes) -> bool:
        """Return True if `answer` holds the passenger's probability, or is the expected echo."""
        if self.grpc:
            return _holds(answer, struct.Struct("<f")) or _holds(answer, struct.Struct("<d"))
        if self.answer is None:
            return answer == self.body
        if self.binary:
            answer = answer[-4:]  # the last number of the last tensor: the last row's probability
            return self.rows > 1 or abs(struct.unpack("<f", answer)[0] - PROBABILITY) < TOLERANCE
        value: Any = json.loads(answer)
        for step in self.answer:
            value = value[step]
        return abs(float(value) - PROBABILITY) < TOLERANCE


def _holds(answer: bytes, number: struct.Struct) -> bool:
    """Return True if the bytes hold the probability at any position."""
    places = range(len(answer) - number.size + 1)
    return any(abs(number.unpack_from(answer, at)[0] - PROBABILITY) < TOLERANCE for at in places)


@dataclass(frozen=True, slots=True)
class Contender:
    """One server: its command, and its calls; each call is a row of the table."""

    name: str
    label: str
    command: tuple[str, ...]
    """Command with `{port}` in place of the port."""
    calls: Mapping[str, Call]
    """Name of a row to its call."""
    folder: Path = ROOT
    environment: Mapping[str, str] = field(default_factory=dict)
    batching: str = ""
    is_peer: bool = False


def floor() -> Contender:
    """Return the echo server, with one row for each kind of request to Lifeboat."""
    command = (sys.executable, str(BASELINES / "echo.py"), "{port}")
    calls = {
        "echo": Call("/api/predict", RECORD, what="of a record"),
        "echo-v2": Call(INFER, as_json(one(PASSENGER)), what="of tensors"),
        "echo-binary": Call(INFER, as_binary(one(PASSENGER))[0], what="of binary tensors"),
    }
    return Contender("echo", "raw ASGI echo", command, calls)


def start_floor() -> Contender:
    """Return the baseline of a start.

    It imports the same libraries as this server, opens the session and serves the echo.
    """
    command = (sys.executable, str(BASELINES / "start.py"), "{port}", str(MODEL))
    return Contender("start", "imports, session, echo", command, {"start": Call("/api/predict", RECORD)})


def lifeboat() -> Contender:
    """Return this server with its default settings, except for the port."""
    calls = {
        "lifeboat": Call("/api/predict", RECORD, answer=("probability",), what="`/api/predict`"),
        "lifeboat-v2": Call(
            INFER, as_json(one(PASSENGER)), answer=("outputs", 1, "data", 1), what="Open Inference Protocol, JSON"
        ),
        "lifeboat-binary": _binary(one(PASSENGER), "Open Inference Protocol, binary"),
    }
    return Contender(
        "lifeboat",
        "Lifeboat",
        (sys.executable, "-m", "server"),
        calls,
        environment={"PORT": "{port}"},
        batching="what arrived in one turn of the loop",
    )


def many_rows() -> Call:
    """Return a binary request of MANY_ROWS passengers."""
    return _binary(passengers(MANY_ROWS), f"{MANY_ROWS} rows, binary")


def _binary(columns: Columns, what: str) -> Call:
    body, length = as_binary(columns)
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(length)}
    return Call(INFER, body, headers, answer=(), binary=True, rows=len(columns["age"]), what=what)


def peers() -> list[Contender]:
    """Return all peers in bench/peers, sorted by name."""
    return [_peer(path) for path in sorted(PEERS.glob("*/peer.toml"))]


def _peer(path: Path) -> Contender:
    told = tomllib.loads(path.read_text())
    name = path.parent.name
    is_grpc = told["protocol"] == "grpc"
    body = base64.b64decode(told["body_base64"]) if is_grpc else told["body"].encode()
    headers = {"content-type": told["content_type"]} | ({"te": "trailers"} if is_grpc else {})
    call = Call(told["path"], body, headers, tuple(told.get("answer", ())), is_grpc)
    is_node = told["runtime"] == "node"
    words = {
        "{python}": str(BUILD / name / "venv" / "bin" / "python"),
        "{node}": os.environ.get("BENCH_NODE", "node"),
        "{model}": str(MODEL),
        "{joblib}": str(BUILD / name / "model.joblib"),
    }
    return Contender(
        name,
        told["label"],
        tuple(words.get(word, word) for word in told["command"]),
        {name: call},
        folder=BUILD / name if is_node else path.parent,
        environment=told.get("environment", {}),
        batching=told["batching"],
        is_peer=True,
    )
