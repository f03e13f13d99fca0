"""grpc.health.v1's Watch until the server ends it: prints a line for each status as it comes, and how the call ended.

Run in an environment of its own by tests/clients/test_grpcio.py:  watch_calls.py HOST:PORT SERVICE
"""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

HUNG_S = 60


def main():
    """Print what is told."""
    address, service = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service=service), timeout=HUNG_S
        )
        try:
            for each in watched:
                print(health_pb2.HealthCheckResponse.ServingStatus.Name(each.status), flush=True)
        except grpc.RpcError:
            pass  # its code is the call's
        print(watched.code().name, flush=True)


if __name__ == "__main__":
    main()
