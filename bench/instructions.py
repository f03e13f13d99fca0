"""CPU instructions of a start and of one request on each interface, counted by callgrind.

`python -m bench.instructions [TREE...]` prints a column for each source tree; the default is this one. Instructions
vary by about 1 % from run to run, and do not depend on other work of the machine. A server under callgrind is about
fifty times slower than normal.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench import sample_tensors
from bench.load_test import BenchError
from bench.targets import RECORD

ROOT: Final = Path(__file__).parents[1]
REQUESTS: Final = 400
"""Requests that are counted on each interface."""
WARM_REQUESTS: Final = 60
CONNECTIONS: Final = 16
START_S: Final = 120
_TOTAL: Final = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_INFER: Final = "/v2/models/titanic/infer"


class Counted:
    """A server under callgrind, and its counters."""

    def __init__(self, tree: Path, folder: Path) -> None:
        """Start the server of a source tree; callgrind writes its counters to `folder`."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        settings = {"PORT": str(self.port), "LIFEBOAT_HTTP2": "1", "LIFEBOAT_LOG_LEVEL": "error", "PYTHONHASHSEED": "0"}
        tool = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={folder / 'counters'}"]
        command = [*tool, sys.executable, "-m", "server"]
        self._process = subprocess.Popen(command, cwd=tree, env=os.environ | settings)
        self._folder = folder

    def connect(self) -> socket.socket:
        """Return a new connection, once the server listens. Raises BenchError if it does not in time."""
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            try:
                return socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                time.sleep(0.1)
        raise BenchError("the server under callgrind does not listen")

    def zero(self) -> None:
        """Set the counters to 0."""
        self._control("--zero")

    def read(self) -> int:
        """Return the instructions since the last call or `zero`, and set the counters to 0."""
        self._control("--dump")
        newest = max(self._folder.glob("counters.*"), key=lambda file: int(file.suffix[1:]))
        found = _TOTAL.search(newest.read_text(errors="replace"))
        if found is None:
            raise BenchError(f"{newest.name} has no total")
        return int(found[1])

    def stop(self) -> None:
        """End the server."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(START_S)

    def _control(self, option: str) -> None:
        subprocess.run(["callgrind_control", option, str(self._process.pid)], check=True, capture_output=True)


def main(trees: Sequence[str]) -> int:
    """Print the table. Returns 1 if there is no valgrind."""
    if shutil.which("valgrind") is None:
        print("bench: valgrind is missing (Debian: valgrind)", file=sys.stderr)
        return 1
    columns = [measure(Path(tree).resolve()) for tree in trees or [str(ROOT)]]
    print("| instructions | " + " | ".join(trees or ["this tree"]) + " |")
    print("| --- |" + " --: |" * len(columns))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{column[name]:,}" for column in columns) + " |")
    return 0


def measure(tree: Path) -> dict[str, int]:
    """Return the instructions of a start, and per request on each interface, of the server in `tree`."""
    with _counted(tree) as server:
        with server.connect():
            counts = {"start": server.read()}
        for name, request in _requests().items():
            for number in (1, CONNECTIONS) if "Connect" not in name else (1,):
                counts[f"{name}, connections: {number}"] = _per_request(server, request, number)
        counts["gRPC, connections: 1"] = _per_call(server)
    return counts


@contextmanager
def _counted(tree: Path) -> Iterator[Counted]:
    with tempfile.TemporaryDirectory() as folder:
        server = Counted(tree, Path(folder))
        try:
            yield server
        finally:
            server.stop()


def _requests() -> dict[str, bytes]:
    passenger = sample_tensors.one(json.loads(RECORD))
    binary, json_bytes = sample_tensors.as_binary(passenger)
    length = f"inference-header-content-length: {json_bytes}\r\n"
    return {
        "prediction": _post("/api/predict", RECORD),
        "tensors as JSON": _post(_INFER, sample_tensors.as_json(passenger)),
        "binary tensors": _post(_INFER, binary, "application/octet-stream", length),
        "Connect": _post("/lifeboat.titanic.v1.TitanicService/Predict", RECORD, more="connect-protocol-version: 1\r\n"),
    }


def _post(path: str, body: bytes, media_type: str = "application/json", more: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def _per_request(server: Counted, request: bytes, number: int) -> int:
    """Return the instructions per request on a number of connections, which all send at the same time."""
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(number)]

        def round_trip() -> None:
            for connection in connections:
                connection.sendall(request)
            for connection in connections:
                _receive(connection)

        return _counted_rounds(server, round_trip, number)


def _counted_rounds(server: Counted, round_trip: Callable[[], object], number: int) -> int:
    for _ in range(WARM_REQUESTS // number):
        round_trip()
    server.zero()
    rounds = REQUESTS // number
    for _ in range(rounds):
        round_trip()
    return server.read() // (rounds * number)


def _receive(connection: socket.socket) -> None:
    """Read one response. Raises BenchError unless it is a success."""
    data = b""
    while (split := data.find(b"\r\n\r\n")) < 0 or len(data) < split + 4 + _body_bytes(data[:split]):
        piece = connection.recv(65_536)
        if not piece:
            raise BenchError(f"the connection ended after {data!r}")
        data += piece
    if not data.startswith(b"HTTP/1.1 200 "):
        raise BenchError(f"the server responded with {data[:200]!r}")


def _body_bytes(head: bytes) -> int:
    found = _LENGTH.search(head)
    return 0 if found is None else int(found[1])


def _per_call(server: Counted) -> int:
    """Return the instructions per gRPC call, one call after the other."""
    import grpc  # type: ignore[import-untyped] # it ships no types

    from server.rpc.proto.inference_pb2 import ModelInferRequest, ModelInferResponse

    passenger = json.loads(RECORD)
    contents = {"INT64": "int64_contents", "FP32": "fp32_contents", "BYTES": "bytes_contents"}
    request = ModelInferRequest(model_name="titanic")
    for name, datatype in sample_tensors.DATATYPES.items():
        value = passenger[name].encode() if datatype == "BYTES" else passenger[name]
        tensor = request.inputs.add(name=name, datatype=datatype, shape=[1, 1])
        getattr(tensor.contents, contents[datatype]).append(value)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=ModelInferRequest.SerializeToString,
            response_deserializer=ModelInferResponse.FromString,
        )
        return _counted_rounds(server, lambda: infer(request, timeout=START_S), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
