"""Watch a service by grpc.health.v1 until the server ends the stream; print each status and the code.

Run in a separate environment by tests/clients/test_grpcio.py: watch_calls.py HOST:PORT SERVICE
"""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

HUNG_S = 60


def main():
    """Print each status when it arrives, then the call's code."""
    address, service = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service=service), timeout=HUNG_S
        )
        try:
            for each in watched:
                print(health_pb2.HealthCheckResponse.ServingStatus.Name(each.status), flush=True)
        except grpc.RpcError:
            pass  # the call has the code
        print(watched.code().name, flush=True)


if __name__ == "__main__":
    main()
