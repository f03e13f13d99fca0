"""Call grpc.health.v1 with its stubs, sync and asyncio; print each result as JSON.

Run in a separate environment by tests/clients/test_grpcio.py: health_calls.py HOST:PORT
"""

import asyncio
import json
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

NAMES = ("", "inference.GRPCInferenceService", "lifeboat.titanic.v1.TitanicService", "grpc.health.v1.Health")
STATUS = health_pb2.HealthCheckResponse.ServingStatus


def asking(service):
    """Return the request for a service."""
    return health_pb2.HealthCheckRequest(service=service)


def run_sync(address):
    """Call every method of the sync stub."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watched = stub.Watch(asking("other"), timeout=60)
        said = {
            "check": [STATUS.Name(stub.Check(asking(name)).status) for name in NAMES],
            "watch": STATUS.Name(next(watched).status),
            "list": {
                name: STATUS.Name(each.status)
                for name, each in stub.List(health_pb2.HealthListRequest()).statuses.items()
            },
        }
        watched.cancel()
        try:
            stub.Check(asking("other"))
        except grpc.RpcError as error:
            said["other"] = [error.code().name, error.details()]
        return said


async def run_aio(address):
    """Call every method of the asyncio stub."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watched = stub.Watch(asking("other"), timeout=60)
        listed = await stub.List(health_pb2.HealthListRequest())
        said = {
            "check": [STATUS.Name((await stub.Check(asking(name))).status) for name in NAMES],
            "watch": STATUS.Name((await watched.read()).status),
            "list": {name: STATUS.Name(each.status) for name, each in listed.statuses.items()},
        }
        watched.cancel()
        try:
            await stub.Check(asking("other"))
        except grpc.RpcError as error:
            said["other"] = [error.code().name, error.details()]
        return said


def main():
    """Print the results of both stubs."""
    (address,) = sys.argv[1:]
    json.dump({"sync": run_sync(address), "aio": asyncio.run(run_aio(address))}, sys.stdout)


if __name__ == "__main__":
    main()
