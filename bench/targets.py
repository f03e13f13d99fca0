"""What is measured: this server, the floors, and each peer as its peer.toml describes it."""

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
"""What the model gives for the passenger that every contender is asked about."""
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
    """One request, and how to tell that its answer is right."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    answer: tuple[str | int, ...] | None = None
    """Where in the JSON answer the probability stands; None where the answer is the body itself."""
    grpc: bool = False
    """By HTTP/2; the answer is protobuf's, in which the probability is a float or a double somewhere."""
    most: int = 0
    """Requests that are sent on one connection at most; 0: as many as there is time for."""
    binary: bool = False
    """The answer's outputs follow its JSON."""
    rows: int = 1
    what: str = ""
    """What tells this row from the server's other ones."""

    def is_right(self, answer: bytes) -> bool:
        """Return whether `answer` holds the passenger's probability, or is the echo that was asked for."""
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
    """Return whether the probability stands anywhere in bytes."""
    places = range(len(answer) - number.size + 1)
    return any(abs(number.unpack_from(answer, at)[0] - PROBABILITY) < TOLERANCE for at in places)


@dataclass(frozen=True, slots=True)
class Contender:
    """One server, how to start it, and the calls it is measured by: each a row of the table."""

    name: str
    label: str
    command: tuple[str, ...]
    """`{port}` stands for the port."""
    calls: Mapping[str, Call]
    """Name of a row to its call."""
    folder: Path = ROOT
    environment: Mapping[str, str] = field(default_factory=dict)
    batching: str = ""
    is_peer: bool = False


def floor() -> Contender:
    """Return the echo of the same bytes: one server, a row for each kind of request this server is measured by."""
    command = (sys.executable, str(BASELINES / "echo.py"), "{port}")
    calls = {
        "echo": Call("/api/predict", RECORD, what="of a record"),
        "echo-v2": Call(INFER, as_json(one(PASSENGER)), what="of tensors"),
        "echo-binary": Call(INFER, as_binary(one(PASSENGER))[0], what="of binary tensors"),
    }
    return Contender("echo", "raw ASGI echo", command, calls)


def start_floor() -> Contender:
    """Return the process that imports and opens what this server does, and serves the echo."""
    command = (sys.executable, str(BASELINES / "start.py"), "{port}", str(MODEL))
    return Contender("start", "imports, session, echo", command, {"start": Call("/api/predict", RECORD)})


def lifeboat() -> Contender:
    """Return this server, nothing about it changed but the port."""
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
    """Return every peer that is described below bench/peers, in the order of their names."""
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
