"""Call every method of kserve's InferenceGRPCClient; print each result as JSON.

Run in a separate environment by tests/clients/test_grpc_clients.py: grpc_calls.py HOST:PORT < records.json
"""

import asyncio
import json
import sys

import grpc
import numpy as np
from calls import DATATYPES, NULLS, shown
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.logging import logger
from kserve.protocol.infer_type import RequestedOutput

RECORD = {"pclass": 1, "sex": "female", "age": 29.0, "sibsp": 0, "parch": 0, "fare": 211.3375, "embarked": "S"}
OVER_S = -1.0
"""Seconds; a deadline that has passed before the call."""


def request(records, is_raw, outputs=None, model="titanic"):
    """Return the records as the client's own request, with raw or typed contents."""
    given = []
    for name, (datatype, dtype) in DATATYPES.items():
        values = [NULLS[name] if record[name] is None else record[name] for record in records]
        array = np.array(values, dtype=dtype).reshape(-1, 1)
        data = array if is_raw else array.reshape(-1).tolist()
        given.append(InferInput(name, [len(records), 1], datatype, data))
    asked = None if outputs is None else [RequestedOutput(name) for name in outputs]
    return InferRequest(model, given, "abc", request_outputs=asked)


async def inferred(client, records, is_raw):
    """Return the results of inferences with raw or typed contents."""
    response = await client.infer(request(records, is_raw))
    alone = await asyncio.gather(*(client.infer(request([record], is_raw)) for record in records))
    return {
        "infer": [shown(response), shown(await client.infer(request(records, is_raw, ["probabilities", "label"])))],
        "one by one": [shown(each) for each in alone],
        "response": [response.model_name, response.model_version, response.id],
        "is raw": all(output._raw_data is not None for output in response.outputs),
    }


async def refused(call):
    """Return the code and the message of the exception that a call must raise."""
    try:
        await call
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    return None


async def main():
    """Print the client's results."""
    logger.setLevel("CRITICAL")  # the client logs each exception that it raises
    records = json.load(sys.stdin)
    async with InferenceGRPCClient(sys.argv[1]) as client:
        said = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready("titanic"),
            "other ready": await client.is_model_ready("other"),
            "typed": await inferred(client, records, is_raw=False),
            "raw": await inferred(client, records, is_raw=True),
            "refused": {
                "category": await refused(client.infer(request([RECORD | {"sex": "she"}], is_raw=False))),
                "range": await refused(client.infer(request([RECORD | {"age": 200.0}], is_raw=True))),
                "unknown model": await refused(client.infer(request([RECORD], is_raw=False, model="other"))),
                "deadline": await refused(client.infer(request([RECORD], is_raw=False), timeout=OVER_S)),
            },
        }
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
