"""Call every version 2 method of kserve's InferenceRESTClient; print each result as JSON.

Run in a separate environment by tests/clients/test_clients.py: calls.py HOST:PORT < records.json
"""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

DATATYPES = {
    "pclass": ("INT64", np.int64),
    "sex": ("BYTES", np.object_),
    "age": ("FP32", np.float32),
    "sibsp": ("INT64", np.int64),
    "parch": ("INT64", np.int64),
    "fare": ("FP32", np.float32),
    "embarked": ("BYTES", np.object_),
}
NULLS = {"age": np.nan, "fare": np.nan, "embarked": ""}


def request(records, binary, outputs):
    """Return the records as the client's own request."""
    given = []
    for name, (datatype, dtype) in DATATYPES.items():
        values = [NULLS[name] if record[name] is None else record[name] for record in records]
        tensor = InferInput(name, [len(records), 1], datatype)
        is_binary = binary or name in ("age", "fare")
        tensor.set_data_from_numpy(np.array(values, dtype=dtype).reshape(-1, 1), binary_data=is_binary)
        given.append(tensor)
    asked = None
    if outputs != "default":
        asked = [RequestedOutput(name, {"binary_data": outputs == "binary"}) for name in ("label", "probabilities")]
    return InferRequest("titanic", given, request_outputs=asked)


def shown(response):
    """Return an inference's labels and probabilities."""
    by_name = {output.name: output.as_numpy() for output in response.outputs}
    labels = [each.decode() if isinstance(each, bytes) else str(each) for each in by_name["label"].tolist()]
    return {"label": labels, "probabilities": by_name["probabilities"].astype(np.float64).tolist()}


async def main():
    """Print the client's results."""
    base = f"http://{sys.argv[1]}"
    records = json.load(sys.stdin)
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    said = {
        "live": await client.is_server_live(base),
        "ready": await client.is_server_ready(base),
        "model ready": await client.is_model_ready(base, "titanic"),
        "other ready": await client.is_model_ready(base, "other"),
        "infer": [
            shown(await client.infer(base, request(records, binary, outputs), model_name="titanic"))
            for binary in (True, False)
            for outputs in ("default", "binary", "json")
        ],
    }
    try:
        await client.infer(base, {"inputs": []}, model_name="titanic")
    except httpx.HTTPStatusError as error:
        said["refused"] = str(error)
    await client.close()
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
