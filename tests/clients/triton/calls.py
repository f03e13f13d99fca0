"""Call every method of tritonclient.http, sync and asyncio, on one server; print each result.

Run in a separate environment by tests/clients/test_clients.py: calls.py HOST:PORT TOKEN < records.json
"""

import asyncio
import json
import sys

import numpy as np
import tritonclient.http as sync
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException

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
FORMS = [
    {"binary": binary, "outputs": outputs, "compression": compression}
    for binary in (True, False)
    for outputs in ("default", "binary", "json")
    for compression in (None, "gzip", "deflate")
]
MODEL = "titanic"


def inputs(module, records, binary):
    """Return the records as the client's own inputs."""
    given = []
    for name, (datatype, dtype) in DATATYPES.items():
        values = [NULLS[name] if record[name] is None else record[name] for record in records]
        tensor = module.InferInput(name, [len(records), 1], datatype)
        is_binary = binary or name in ("age", "fare")  # the client can't write NaN in JSON
        tensor.set_data_from_numpy(np.array(values, dtype=dtype).reshape(-1, 1), binary_data=is_binary)
        given.append(tensor)
    return given


def outputs(module, kind):
    """Return the outputs to request; None for the client's default."""
    if kind == "default":
        return None
    return [module.InferRequestedOutput(name, binary_data=kind == "binary") for name in ("label", "probabilities")]


def shown(result):
    """Return an inference's labels and probabilities."""
    labels = [each.decode() if isinstance(each, bytes) else each for each in result.as_numpy("label").tolist()]
    return {"label": labels, "probabilities": result.as_numpy("probabilities").astype(np.float64).tolist()}


def arguments(module, records, form):
    """Return the arguments of `infer` for one of the forms."""
    return {
        "model_name": MODEL,
        "inputs": inputs(module, records, form["binary"]),
        "outputs": outputs(module, form["outputs"]),
        "request_id": "abc",
        "priority": 1,
        "timeout": 60_000_000,
        "request_compression_algorithm": form["compression"],
        "response_compression_algorithm": form["compression"],
    }


def refused(call):
    """Return the message of the exception that a rejected call must raise."""
    try:
        call()
    except InferenceServerException as error:
        return error.message()
    return None


def run_sync(address, token, records):
    """Call every method of the sync client."""
    client = sync.InferenceServerClient(address)
    bearer = {"authorization": f"Bearer {token}"}
    said = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready(MODEL) and client.is_model_ready(MODEL, "1"),
        "other ready": client.is_model_ready("other"),
        "server metadata": client.get_server_metadata(),
        "model metadata": client.get_model_metadata(MODEL, "1"),
        "model config": client.get_model_config(MODEL, "1"),
        "index": client.get_model_repository_index(),
        "unload": client.unload_model(MODEL, headers=bearer),
        "ready after unload": client.is_model_ready(MODEL),
        "load": client.load_model(MODEL, headers=bearer),
        "statistics": client.get_inference_statistics(MODEL, "1"),
        "every statistics": client.get_inference_statistics(),
        "infer": [shown(client.infer(**arguments(sync, records, form))) for form in FORMS],
        "async infer": shown(client.async_infer(**arguments(sync, records, FORMS[0])).get_result()),
    }
    response = client.infer(**arguments(sync, records, FORMS[0])).get_response()
    said["id"], said["version"] = response["id"], response["model_version"]
    likeliest = [sync.InferRequestedOutput("probabilities", class_count=1)]
    result = client.infer(MODEL, inputs(sync, records, True), outputs=likeliest)
    said["classification"] = [each[0].decode() for each in result.as_numpy("probabilities")]
    body, length = sync.InferenceServerClient.generate_request_body(inputs(sync, records, True))
    answer = client._post(f"v2/models/{MODEL}/infer", body, {"Inference-Header-Content-Length": str(length)}, None)
    header = answer.get("Inference-Header-Content-Length")
    parsed = sync.InferenceServerClient.parse_response_body(bytes(answer.read()), header_length=int(header))
    said["raw body"] = shown(parsed)
    said["refused"] = {
        "control without the token": refused(lambda: client.unload_model(MODEL)),
        "unknown model": refused(lambda: client.get_model_metadata("other")),
        "shared memory": refused(client.get_system_shared_memory_status),
        "cuda shared memory": refused(client.get_cuda_shared_memory_status),
        "trace": refused(client.get_trace_settings),
        "log": refused(client.get_log_settings),
    }
    client.close()
    return said


async def run_aio(address, token, records):
    """Call every method of the asyncio client."""
    bearer = {"authorization": f"Bearer {token}"}
    async with aio.InferenceServerClient(address) as client:
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready(MODEL),
            "server metadata": await client.get_server_metadata(),
            "model metadata": await client.get_model_metadata(MODEL),
            "model config": await client.get_model_config(MODEL),
            "index": await client.get_model_repository_index(),
            "unload": await client.unload_model(MODEL, headers=bearer),
            "load": await client.load_model(MODEL, headers=bearer),
            "statistics": await client.get_inference_statistics(MODEL),
            "infer": [shown(await client.infer(**arguments(aio, records, form))) for form in FORMS],
        }


def main():
    """Print the results of both clients as JSON."""
    address, token = sys.argv[1:]
    records = json.load(sys.stdin)
    said = {"sync": run_sync(address, token, records), "aio": asyncio.run(run_aio(address, token, records))}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
