"""Make many calls on one channel, some concurrently; print the number of calls per code as JSON.

Run in a separate environment by tests/clients/test_grpcio.py: many_calls.py HOST:PORT CALLS < request in base64
"""

import asyncio
import base64
import collections
import json
import sys

import grpc

METHOD = "/lifeboat.titanic.v1.TitanicService/Predict"
AT_ONCE = 50


async def main():
    """Print the number of calls per code."""
    address, calls = sys.argv[1:]
    request = base64.b64decode(json.load(sys.stdin))
    codes = collections.Counter()
    numbers = iter(range(int(calls)))
    async with grpc.aio.insecure_channel(address) as channel:
        predict = channel.unary_unary(METHOD)  # bytes in and out: other tests cover the stub's own work

        async def work():
            for _ in numbers:
                try:
                    codes["OK" if await predict(request) else "EMPTY"] += 1
                except grpc.RpcError as error:
                    codes[f"{error.code().name}: {error.details()}"] += 1

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    json.dump(codes, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
