"""Call the typed service with stubs generated from the served .proto; print each result.

Run in a separate environment by tests/clients/test_grpcio.py: typed_calls.py HOST:PORT < records.json
"""

import asyncio
import importlib
import json
import sys
import tempfile
import urllib.request
from pathlib import Path

import grpc
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpc_tools import protoc

OVER_S = -1.0
"""Seconds; a deadline that has passed before the call."""
MANY = 10_000


def generated(address, folder):
    """Generate and import the messages and the stubs of the served .proto."""
    with urllib.request.urlopen(f"http://{address}/api/models/titanic/service.proto") as answer:
        Path(folder, "service.proto").write_bytes(answer.read())
    options = ["protoc", f"-I{folder}", f"--python_out={folder}", f"--grpc_python_out={folder}", "service.proto"]
    assert protoc.main(options) == 0
    sys.path.insert(0, folder)
    return importlib.import_module("service_pb2"), importlib.import_module("service_pb2_grpc")


def shown(answers):
    """Return the labels and probabilities of several predictions."""
    for answer in answers:
        assert answer.probability == answer.probabilities["survived"]
    return {
        "label": [answer.label for answer in answers],
        "probabilities": [[answer.probabilities[name] for name in ("died", "survived")] for answer in answers],
    }


def told(error):
    """Return a failed call's code, message, and details by type name."""
    status = rpc_status.from_call(error)
    said = {"code": error.code().name, "message": error.details(), "details": {}}
    if status is not None:
        assert (status.code, status.message) == (error.code().value[0], error.details())
        for detail in status.details:
            name = detail.type_url.rpartition("/")[2]
            message = getattr(error_details_pb2, name.removeprefix("google.rpc."))()
            assert detail.Unpack(message)
            said["details"][name] = MessageToDict(message)
    return said


class Requests:
    """Requests in the generated types."""

    def __init__(self, messages, records):
        """Create requests from records; null values are left out."""
        self.records = [
            messages.PredictRequest(**{name: value for name, value in record.items() if value is not None})
            for record in records
        ]
        self.batch = messages.PredictBatchRequest(records=self.records)
        self.right = self.records[0]
        self.wrong = messages.PredictRequest.FromString(self.right.SerializeToString())
        self.wrong.sex = "she"
        self.wrong_batch = messages.PredictBatchRequest(records=[self.right, self.wrong])
        self.empty = messages.PredictBatchRequest()
        self.too_many = messages.PredictBatchRequest(records=[self.right] * (MANY + 1))
        self.many = messages.PredictBatchRequest(records=[self.right] * MANY)

    def refused(self, stub):
        """Return calls that fail, by their error."""
        return {
            "category": lambda: stub.Predict(self.wrong),
            "batch": lambda: stub.PredictBatch(self.wrong_batch),
            "stream": lambda: stub.PredictStream(self.wrong_batch),
            "empty batch": lambda: stub.PredictBatch(self.empty),
            "empty stream": lambda: stub.PredictStream(self.empty),
            "too many": lambda: stub.PredictBatch(self.too_many),
            "deadline": lambda: stub.Predict(self.right, timeout=OVER_S),
            "batch's deadline": lambda: stub.PredictBatch(self.batch, timeout=OVER_S),
            "stream's deadline": lambda: stub.PredictStream(self.batch, timeout=OVER_S),
        }


def others(channel):
    """Return calls of unknown methods or with wrong messages, by their error."""
    return {
        "no such method": lambda: channel.unary_unary("/lifeboat.titanic.v1.TitanicService/Guess")(b""),
        "no such service": lambda: channel.unary_unary("/lifeboat.other.v1.OtherService/Predict")(b""),
        "no message": lambda: channel.unary_unary("/lifeboat.titanic.v1.TitanicService/Predict")(b"\xff"),
        "two messages": lambda: channel.stream_unary("/lifeboat.titanic.v1.TitanicService/Predict")(iter([b"", b""])),
    }


def failed(call):
    """Return the error of a call."""
    try:
        answer = call()
        if isinstance(answer, grpc.Future):  # a stream
            list(answer)
    except grpc.RpcError as error:
        return told(error)
    return None


def run_sync(address, services, requests):
    """Call every method of the sync stub."""
    with grpc.insecure_channel(address) as channel:
        stub = services.TitanicServiceStub(channel)
        served = stub.PredictBatch(requests.batch)
        stream = stub.PredictStream(requests.many)
        first = next(stream)
        stream.cancel()
        said = {
            "predict": shown([stub.Predict(each) for each in requests.records]),
            "futures": shown([call.result() for call in [stub.Predict.future(each) for each in requests.records]]),
            "compressed": shown(stub.PredictBatch(requests.batch, compression=grpc.Compression.Gzip).predictions),
            "batch": shown(served.predictions),
            "stream": shown(list(stub.PredictStream(requests.batch))),
            "served": [served.model, served.version, first.model, first.version],
            "many": len(list(stub.PredictStream(requests.many))),
            "cancelled": stream.code().name,
            "after": shown([stub.Predict(each) for each in requests.records]),
        }
        calls = requests.refused(stub) | others(channel)
        said["refused"] = {what: failed(call) for what, call in calls.items()}
        return said


async def failed_aio(call):
    """Return the error of an asyncio call."""
    try:
        called = call()
        if isinstance(called, grpc.aio.UnaryStreamCall):
            async for _ in called:
                pass
        else:
            await called
    except grpc.RpcError as error:
        return told(error)
    return None


async def run_aio(address, services, requests):
    """Call every method of the asyncio stub."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = services.TitanicServiceStub(channel)
        served = await stub.PredictBatch(requests.batch)
        stream = stub.PredictStream(requests.many)
        first = await stream.read()
        stream.cancel()
        said = {
            "predict": shown([await stub.Predict(each) for each in requests.records]),
            "futures": shown(await asyncio.gather(*(stub.Predict(each) for each in requests.records))),
            "compressed": shown(
                (await stub.PredictBatch(requests.batch, compression=grpc.Compression.Gzip)).predictions
            ),
            "batch": shown(served.predictions),
            "stream": shown([each async for each in stub.PredictStream(requests.batch)]),
            "served": [served.model, served.version, first.model, first.version],
            "many": len([each async for each in stub.PredictStream(requests.many)]),
            "cancelled": (await stream.code()).name,
            "after": shown([await stub.Predict(each) for each in requests.records]),
        }
        calls = requests.refused(stub) | others(channel)
        said["refused"] = {what: await failed_aio(call) for what, call in calls.items()}
        return said


def main():
    """Print the results of both stubs."""
    (address,) = sys.argv[1:]
    records = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        messages, services = generated(address, folder)
    requests = Requests(messages, records)
    said = {
        "sync": run_sync(address, services, requests),
        "aio": asyncio.run(run_aio(address, services, requests)),
    }
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
