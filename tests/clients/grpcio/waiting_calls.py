"""Cancel or time out calls while they wait in the server's queue; print how each ended.

The server has a queue delay of one second, so all of these calls are in one batch; the last one succeeds. Run in a
separate environment by tests/clients/test_grpcio.py: waiting_calls.py HOST:PORT < request in base64
"""

import base64
import json
import sys

import grpc

PREDICT = "/lifeboat.titanic.v1.TitanicService/Predict"
CHECK = "/grpc.health.v1.Health/Check"
SOON_S = 0.05


def main():
    """Print how each call ended, as JSON."""
    request = base64.b64decode(json.load(sys.stdin))
    with grpc.insecure_channel(sys.argv[1]) as channel:
        predict, check = channel.unary_unary(PREDICT), channel.unary_unary(CHECK)
        check(b"")
        late = predict.future(request, timeout=SOON_S)
        left = predict.future(request)
        check(b"")  # on the same connection: its response means that both calls have been read
        left.cancel()
        said = {"late": late.code().name, "left": left.code().name, "last": bool(predict(request))}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
