"""grpc.aio server with one handler, ModelInfer, for raw tensors in both directions."""

import argparse
import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime as ort
import uvloop
from google.protobuf import descriptor_pb2, message_factory

FILES = descriptor_pb2.FileDescriptorSet.FromString(Path(__file__).with_name("inference.binpb").read_bytes())
MESSAGES = message_factory.GetMessages(FILES.file)
Request, Response = MESSAGES["inference.ModelInferRequest"], MESSAGES["inference.ModelInferResponse"]
DTYPES = {"INT64": np.dtype("<i8"), "FP32": np.dtype("<f4")}


def strings(raw: bytes) -> Iterator[str]:
    """Yield the elements of a BYTES tensor.

    Each element follows its length, four bytes, little-endian.
    """
    at = 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        yield raw[at + 4 : end].decode()
        at = end


def array(tensor: Any, raw: bytes) -> np.ndarray:  # noqa: ANN401 # a message class made at run time
    """Return one input's array."""
    if tensor.datatype == "BYTES":
        return np.array(list(strings(raw)), object).reshape(tensor.shape)
    return np.frombuffer(raw, DTYPES[tensor.datatype]).reshape(tensor.shape)


async def main(port: int, model: str) -> None:
    """Serve until SIGTERM."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    async def infer(request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: ANN401, ARG001
        pairs = zip(request.inputs, request.raw_input_contents, strict=True)
        label, probabilities = session.run(None, {tensor.name: array(tensor, raw) for tensor, raw in pairs})
        labels = [each.encode() for each in label]
        response = Response(model_name=request.model_name, model_version="1", id=request.id)
        response.outputs.add(name="label", datatype="BYTES", shape=label.shape)
        response.outputs.add(name="probabilities", datatype="FP32", shape=probabilities.shape)
        response.raw_output_contents.append(b"".join(len(each).to_bytes(4, "little") + each for each in labels))
        response.raw_output_contents.append(probabilities.tobytes())
        return response

    handler = grpc.unary_unary_rpc_method_handler(infer, Request.FromString, Response.SerializeToString)
    server = grpc.aio.server()
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler})
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.port, arguments.model))
