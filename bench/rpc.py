"""Cost of a call by each protocol, relative to a JSON record over REST.

Both calls are measured on the same server in the same round.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from bench import process_stats
from bench.measure import Measured, measure
from bench.process_stats import Cores
from bench.results import Figure, Wire, figure
from bench.sample_tensors import DATATYPES, as_json, one
from bench.targets import BASELINES, INFER, PASSENGER, RECORD, ROOT, Call, Contender
from server.models import manifest as manifests
from server.rpc.proto.inference_pb2 import ModelInferRequest
from server.rpc.protocols.envelope import pack
from server.rpc.services import typed_descriptor
from server.rpc.services.open_inference_codec import CONTENTS

CONNECTIONS: Final = (1, 16, 64)
_A_CONNECTION: Final = 3_000
"""Maximum requests on a connection.

The server closes an HTTP/2 connection after 3,840 requests, and h2load does not reconnect.
"""
_LOADS: Final = 4
"""Number of measured loads of the RPC layer per round."""
_COMMAND: Final = (sys.executable, "-m", "server")


def measured(rounds: int) -> tuple[list[Wire], dict[str, Figure]]:
    """Return the cost of calls by protocol, and of loading RPC and HTTP/2.

    The cost of loading is in CPU milliseconds.
    """
    seen = Measured()
    cores = Cores.of_this_machine()
    calls = _calls()
    ours = Contender("rpc", "Lifeboat", _COMMAND, calls, environment={"PORT": "{port}", "LIFEBOAT_HTTP2": "1"})
    added: dict[str, list[float]] = {}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        measure([ours], seen, cores)
        for _ in range(_LOADS):
            for name, value in _loaded(cores).items():
                added.setdefault(name, []).append(value)
    wires = [_wire(seen, name, call, calls) for name, call in calls.items()]
    return wires, {name: figure(values, 1) for name, values in added.items()}


def _loaded(cores: Cores) -> dict[str, float]:
    """Return the CPU milliseconds of loading the RPC layer and HTTP/2 in a new process."""
    command = [sys.executable, str(BASELINES / "rpc.py"), str(ROOT / "models")]
    environment = process_stats.bytecode_kept() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(process_stats.pinned(command, cores.server), env=environment, capture_output=True, check=True)
    return dict(json.loads(done.stdout))


def _wire(seen: Measured, name: str, call: Call, calls: Mapping[str, Call]) -> Wire:
    beside = next(each for each in calls if calls[each].grpc == call.grpc)  # the first of each HTTP version is REST

    def ratio(connections: int) -> Figure:
        pairs = zip(seen.windows[name, connections], seen.windows[beside, connections], strict=True)
        return figure([window.cpu_us / rest.cpu_us for window, rest in pairs], 3)

    cpu_us = figure([window.cpu_us for window in seen.windows[name, 16]], 1)
    return Wire(label=call.what, cpu_us=cpu_us, ratio={str(number): ratio(number) for number in CONNECTIONS})


def _rest() -> Call:
    return Call("/api/predict", RECORD, answer=("probability",), what="REST, JSON, HTTP/1.1")


def _calls() -> dict[str, Call]:
    """Return a call by each protocol; all are for the same passenger."""
    manifest = manifests.read(ROOT / "models" / "titanic" / "1" / manifests.MANIFEST_FILE)
    predict = f"/{typed_descriptor.package(manifest)}.{typed_descriptor.service(manifest)}/Predict"
    infer = "/inference.GRPCInferenceService/ModelInfer"
    message = _typed(manifest)
    raw, typed = (_tensors(is_raw=is_raw) for is_raw in (True, False))
    return {
        "rest": _rest(),
        "connect-json": _http1(predict, RECORD, "application/json", "Predict, Connect, JSON, HTTP/1.1"),
        "connect-proto": _http1(predict, message, "application/proto", "Predict, Connect, binary, HTTP/1.1"),
        "grpc-web": _http1(predict, pack(message), "application/grpc-web+proto", "Predict, gRPC-Web, HTTP/1.1"),
        "v2": _http1(INFER, as_json(one(PASSENGER)), "application/json", "REST infer, JSON, HTTP/1.1"),
        "connect-infer": _http1(infer, raw, "application/proto", "ModelInfer, raw, Connect, HTTP/1.1"),
        "rest-2": Call("/api/predict", RECORD, grpc=True, most=_A_CONNECTION, what="REST, JSON, HTTP/2"),
        "grpc": _http2(predict, message, "Predict, gRPC, HTTP/2"),
        "grpc-infer": _http2(infer, raw, "ModelInfer, raw, gRPC, HTTP/2"),
        "grpc-infer-typed": _http2(infer, typed, "ModelInfer, typed, gRPC, HTTP/2"),
    }


def _http1(path: str, body: bytes, media_type: str, what: str) -> Call:
    return Call(path, body, {"content-type": media_type}, what=what)


def _http2(path: str, message: bytes, what: str) -> Call:
    headers = {"content-type": "application/grpc+proto", "te": "trailers"}
    return Call(path, pack(message), headers, grpc=True, most=_A_CONNECTION, what=what)


def _typed(manifest: manifests.Manifest) -> bytes:
    file = typed_descriptor.file(manifest)
    pool = DescriptorPool()
    pool.Add(file)
    kind: Any = GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{typed_descriptor.REQUEST}"))
    return bytes(kind(**PASSENGER).SerializeToString())


def _tensors(*, is_raw: bool) -> bytes:
    """Return a ModelInferRequest for the passenger, with raw or typed contents."""
    request = ModelInferRequest(model_name="titanic")
    for name, array in one(PASSENGER).items():
        tensor = request.inputs.add(name=name, datatype=DATATYPES[name], shape=array.shape)
        values = [value.encode() if isinstance(value, str) else value for value in array.reshape(-1).tolist()]
        if not is_raw:
            getattr(tensor.contents, CONTENTS[DATATYPES[name]]).extend(values)
        elif DATATYPES[name] == "BYTES":
            request.raw_input_contents.append(len(values[0]).to_bytes(4, "little") + values[0])
        else:
            request.raw_input_contents.append(array.tobytes())
    return request.SerializeToString()
