"""Call every method of tritonclient.grpc, sync and asyncio, on one server; print each result.

Run in a separate environment by tests/clients/test_grpc_clients.py: grpc_calls.py HOST:PORT TOKEN < records.json
"""

import asyncio
import json
import queue
import sys

import numpy as np
import tritonclient.grpc as sync
from calls import DATATYPES, MODEL, NULLS, shown
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

RECORD = {"pclass": 1, "sex": "female", "age": 29.0, "sibsp": 0, "parch": 0, "fare": 211.3375, "embarked": "S"}
COMPRESSIONS = (None, "gzip")
OUTPUTS = (None, ["label", "probabilities"], ["probabilities", "label"])
OVER_S = -1.0
"""Seconds; a deadline that has passed before the call."""


def inputs(records, **replaced):
    """Return the records as the client's own inputs, some replaced by (datatype, array)."""
    given = []
    for name, (right, dtype) in DATATYPES.items():
        values = [NULLS[name] if record[name] is None else record[name] for record in records]
        datatype, array = replaced.get(name, (right, np.array(values, dtype=dtype).reshape(-1, 1)))
        tensor = sync.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        given.append(tensor)
    return given


def asked(names):
    """Return the outputs to request; None for the client's default."""
    return None if names is None else [sync.InferRequestedOutput(name) for name in names]


def forms(records):
    """Yield the arguments of `infer` in every form."""
    for names in OUTPUTS:
        for compression in COMPRESSIONS:
            yield {
                "model_name": MODEL,
                "inputs": inputs(records),
                "outputs": asked(names),
                "request_id": "abc",
                "priority": 1,
                "timeout": 60_000_000,
                "client_timeout": 60.0,
                "compression_algorithm": compression,
            }


def identity(result):
    """Return model, version and id of an inference's response."""
    response = result.get_response(as_json=True)
    message = result.get_response()
    assert (message.id, message.model_name) == (response.get("id", ""), response["model_name"])
    assert result.get_output("label").datatype == "BYTES"  # without as_json, with which it returns None
    assert result.get_output("colour") is None
    return [response["model_name"], response["model_version"], response.get("id")]


def refused(call):
    """Return the code and the message of the exception that a call must raise."""
    try:
        call()
    except InferenceServerException as error:
        return [error.status().removeprefix("StatusCode."), error.message()]
    return None


async def refused_aio(call):
    """Return the code and the message of the exception that an asyncio call must raise."""
    try:
        await call
    except InferenceServerException as error:
        return [error.status().removeprefix("StatusCode."), error.message()]
    return None


def tritons_own(client):
    """Return the calls that only Triton supports, for either client, by name."""
    return {
        "update_trace_settings": lambda: client.update_trace_settings(MODEL, {"trace_rate": "1"}),
        "get_trace_settings": lambda: client.get_trace_settings(MODEL),
        "update_log_settings": lambda: client.update_log_settings({"log_verbose_level": 1}),
        "get_log_settings": client.get_log_settings,
        "get_system_shared_memory_status": client.get_system_shared_memory_status,
        "register_system_shared_memory": lambda: client.register_system_shared_memory("a", "/a", 8),
        "unregister_system_shared_memory": client.unregister_system_shared_memory,
        "get_cuda_shared_memory_status": client.get_cuda_shared_memory_status,
        "register_cuda_shared_memory": lambda: client.register_cuda_shared_memory("a", b"", 0, 8),
        "unregister_cuda_shared_memory": client.unregister_cuda_shared_memory,
    }


def wrong(token):
    """Return the calls that are rejected, for either client, by name."""
    female = np.array([["she"]], dtype=object)
    calls = {
        "unknown model": lambda client: client.infer("other", inputs([RECORD])),
        "unknown version": lambda client: client.infer(MODEL, inputs([RECORD]), "7"),
        "no version": lambda client: client.infer(MODEL, inputs([RECORD]), "first"),
        "missing input": lambda client: client.infer(MODEL, inputs([RECORD])[1:]),
        "no input": lambda client: client.infer(MODEL, []),
        "same input twice": lambda client: client.infer(MODEL, [*inputs([RECORD]), inputs([RECORD])[1]]),
        "category": lambda client: client.infer(MODEL, inputs([RECORD], sex=("BYTES", female))),
        "range": lambda client: client.infer(MODEL, inputs([RECORD], age=("FP32", np.array([[200]], np.float32)))),
        "datatype": lambda client: client.infer(MODEL, inputs([RECORD], age=("FP64", np.array([[2.0]])))),
        "rows": lambda client: client.infer(MODEL, inputs([RECORD], age=("FP32", np.ones((2, 1), np.float32)))),
        "shape": lambda client: client.infer(MODEL, inputs([RECORD], age=("FP32", np.ones((1, 2), np.float32)))),
        "unknown output": lambda client: client.infer(MODEL, inputs([RECORD]), outputs=asked(["colour"])),
        "deadline": lambda client: client.infer(MODEL, inputs([RECORD]), client_timeout=OVER_S),
        "metadata of an unknown model": lambda client: client.get_model_metadata("other"),
        "configuration of an unknown version": lambda client: client.get_model_config(MODEL, "7"),
        "statistics of an unknown model": lambda client: client.get_inference_statistics("other"),
        "load without the token": lambda client: client.load_model(MODEL),
        "unload without the token": lambda client: client.unload_model(MODEL),
    }
    other, right = {"authorization": "Bearer guessed"}, {"authorization": f"Bearer {token}"}
    calls["another token"] = lambda client: client.unload_model(MODEL, headers=other)
    calls["load of an unknown model"] = lambda client: client.load_model("other", headers=right)
    calls["load with a configuration"] = lambda client: client.load_model(MODEL, headers=right, config="{}")
    calls["unload of an unknown model"] = lambda client: client.unload_model("other", headers=right)
    return calls


def shared(names):
    """Return the inputs, with those of `names` in shared memory."""
    given = inputs([RECORD])
    for tensor in given:
        if tensor.name() in names:
            tensor.set_shared_memory("a", 8)
    return given


def in_shared_memory():
    """Return inferences with tensors in shared memory, for either client."""
    label = sync.InferRequestedOutput("label")
    label.set_shared_memory("a", 8)
    return {
        "one input": lambda client: client.infer(MODEL, shared(["pclass"])),
        "every input": lambda client: client.infer(MODEL, shared(DATATYPES)),
        "output": lambda client: client.infer(MODEL, inputs([RECORD]), outputs=[label]),
    }


def streamed(client, records):
    """Return the results of a stream of right requests with two wrong ones."""
    told = queue.Queue()
    client.start_stream(lambda result, error: told.put((result, error)), compression_algorithm="gzip")
    client.async_stream_infer(MODEL, inputs(records), request_id="0")
    client.async_stream_infer("other", inputs(records), request_id="1")
    for number in range(2, 20):
        given = inputs(records)
        client.async_stream_infer(MODEL, given, "1", asked(OUTPUTS[number % 3]), str(number), priority=1)
    client.async_stream_infer(MODEL, inputs(records)[1:], request_id="20")
    client.stop_stream()
    answers = [told.get_nowait() for _ in range(21)]
    assert told.empty()
    return {
        "infer": [shown(result) for result, error in answers if error is None],
        "ids": [result.get_response().id for result, error in answers if error is None],
        "failed": [error.message() for result, error in answers if result is None],
    }


def cancelled(client):
    """Return the status of a stream that the client cancels while the server waits for requests."""
    told = queue.Queue()
    client.start_stream(lambda result, error: told.put((result, error)))
    client.async_stream_infer(MODEL, inputs([RECORD]))
    _, error = told.get(timeout=60)
    assert error is None, error
    client.stop_stream(cancel_requests=True)
    _, error = told.get(timeout=60)
    return error.status()


def run_sync(address, token, records):
    """Call every method of the sync client."""
    with sync.InferenceServerClient(address) as client:
        bearer = {"authorization": f"Bearer {token}"}
        said = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model ready": client.is_model_ready(MODEL) and client.is_model_ready(MODEL, "1"),
            "other ready": client.is_model_ready("other") or client.is_model_ready(MODEL, "7"),
            "server metadata": client.get_server_metadata(as_json=True),
            "model metadata": client.get_model_metadata(MODEL, as_json=True),
            "model config": client.get_model_config(MODEL, as_json=True),
            "index": client.get_model_repository_index(as_json=True),
            "unload": client.unload_model(MODEL, headers=bearer),
            "ready after unload": client.is_model_ready(MODEL),
            "unloaded": refused(lambda: client.infer(MODEL, inputs(records))),
            "load": client.load_model(MODEL, headers=bearer),
            "infer": [shown(client.infer(**form)) for form in forms(records)],
            "identity": identity(client.infer(**next(forms(records)))),
            "no id": identity(client.infer(MODEL, inputs(records))),
            "one by one": [shown(client.infer(MODEL, inputs([record]))) for record in records],
            "messages": [
                client.get_server_metadata().name,
                client.get_model_metadata(MODEL, "1").name,
                client.get_model_config(MODEL, "1").config.name,
                client.get_model_repository_index().models[0].name,
            ],
            "every statistics": client.get_inference_statistics(as_json=True),
            "statistics": client.get_inference_statistics(MODEL, as_json=True),
            "version's statistics": client.get_inference_statistics(MODEL, "1", as_json=True),
            "runs": client.get_inference_statistics(MODEL).model_stats[0].execution_count,
        }
        told = queue.Queue()
        for form in forms(records):
            client.async_infer(callback=lambda result, error: told.put((result, error)), **form)
        said["callbacks"] = [shown(told.get(timeout=60)[0]) for _ in forms(records)]
        client.async_infer("other", inputs(records), lambda result, error: told.put((result, error)))
        said["failed callback"] = told.get(timeout=60)[1].status()
        likeliest = [sync.InferRequestedOutput("probabilities", class_count=1)]
        classified = client.infer(MODEL, inputs(records), outputs=likeliest).as_numpy("probabilities")
        said["classification"] = [each[0].decode() for each in classified]
        said["stream"] = streamed(client, records)
        said["cancelled stream"] = cancelled(client)
        said["unimplemented"] = {name: refused(call) for name, call in tritons_own(client).items()}
        said["shared memory"] = {
            name: refused(lambda call=call: call(client)) for name, call in in_shared_memory().items()
        }
        said["refused"] = {name: refused(lambda call=call: call(client)) for name, call in wrong(token).items()}
        return said


async def streamed_aio(client, records):
    """Return the results of a stream of right requests with a wrong one among them."""

    async def requests():
        for number in range(20):
            yield {
                "model_name": "other" if number == 7 else MODEL,
                "inputs": inputs(records),
                "outputs": asked(OUTPUTS[number % 3]),
                "request_id": str(number),
            }

    answers = [answer async for answer in client.stream_infer(requests(), compression_algorithm="gzip")]
    return {
        "infer": [shown(result) for result, error in answers if error is None],
        "ids": [result.get_response().id for result, error in answers if error is None],
        "failed": [error.message() for result, error in answers if result is None],
    }


async def cancelled_aio(client):
    """Return the exception of a stream that is cancelled while the server waits for requests."""
    never = asyncio.Event()

    async def requests():
        yield {"model_name": MODEL, "inputs": inputs([RECORD])}
        await never.wait()

    answers = client.stream_infer(requests())
    _, error = await anext(answers)
    assert error is None, error
    answers.cancel()
    try:
        await anext(answers)
    except (InferenceServerException, asyncio.CancelledError) as error:
        return type(error).__name__
    return None


async def run_aio(address, token, records):
    """Call every method of the asyncio client."""
    bearer = {"authorization": f"Bearer {token}"}
    async with aio.InferenceServerClient(address) as client:
        said = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready(MODEL) and await client.is_model_ready(MODEL, "1"),
            "other ready": await client.is_model_ready("other"),
            "server metadata": await client.get_server_metadata(as_json=True),
            "model metadata": await client.get_model_metadata(MODEL, as_json=True),
            "model config": await client.get_model_config(MODEL, as_json=True),
            "index": await client.get_model_repository_index(as_json=True),
            "unload": await client.unload_model(MODEL, headers=bearer),
            "ready after unload": await client.is_model_ready(MODEL),
            "unloaded": await refused_aio(client.infer(MODEL, inputs(records))),
            "load": await client.load_model(MODEL, headers=bearer),
            "infer": [shown(await client.infer(**form)) for form in forms(records)],
            "identity": identity(await client.infer(**next(forms(records)))),
            "no id": identity(await client.infer(MODEL, inputs(records))),
            "one by one": [
                shown(result)
                for result in await asyncio.gather(*(client.infer(MODEL, inputs([record])) for record in records))
            ],
            "messages": [
                (await client.get_server_metadata()).name,
                (await client.get_model_metadata(MODEL, "1")).name,
                (await client.get_model_config(MODEL, "1")).config.name,
                (await client.get_model_repository_index()).models[0].name,
            ],
            "every statistics": await client.get_inference_statistics(as_json=True),
            "statistics": await client.get_inference_statistics(MODEL, as_json=True),
            "version's statistics": await client.get_inference_statistics(MODEL, "1", as_json=True),
            "runs": (await client.get_inference_statistics(MODEL)).model_stats[0].execution_count,
            "stream": await streamed_aio(client, records),
            "cancelled stream": await cancelled_aio(client),
        }
        said["unimplemented"] = {name: await refused_aio(call()) for name, call in tritons_own(client).items()}
        said["shared memory"] = {name: await refused_aio(call(client)) for name, call in in_shared_memory().items()}
        said["refused"] = {name: await refused_aio(call(client)) for name, call in wrong(token).items()}
        return said


def main():
    """Print the results of both clients as JSON."""
    address, token = sys.argv[1:]
    records = json.load(sys.stdin)
    said = {"sync": run_sync(address, token, records), "aio": asyncio.run(run_aio(address, token, records))}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
