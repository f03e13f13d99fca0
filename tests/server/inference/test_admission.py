"""Large requests: admitted by size before they are read, decoded in order, rejected cheaply."""

import asyncio
import base64
import gzip
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx
import pytest

from server.codecs.compression import FREE_BYTES
from server.codecs.row_estimate import RowEstimate
from server.errors import Canceled, InvalidArgument, PayloadTooLarge, ResourceExhausted
from server.http.rejection_pace import RejectionPace
from server.inference.batcher import Batcher, Limits, Waiter
from server.inference.statistics import Stages
from server.models.repository import Repository
from server.rpc.protocols.json_messages import LOOP_BYTES, MAX_WAITING, JsonMessages
from tests.passenger import DATATYPES, PASSENGER
from tests.server.support.process import HUNG_S
from tests.server.support.rpc import BATCH, INFER, MODELS, PREDICT, counted
from tests.server.support.wire import post, wire

REST: Final = "/api/predict"
V2: Final = "/v2/models/titanic/infer"
ROWS: Final = 1000
"""A body with this many rows exceeds 64 KiB on every interface."""
JSON: Final = {"content-type": "application/json"}


def _records(rows: int = ROWS, **last: Any) -> bytes:  # noqa: ANN401 # JSON
    return json.dumps({"records": [PASSENGER] * (rows - 1) + [PASSENGER | last]}).encode()


def _tensors(rows: int = ROWS, **members: Any) -> bytes:  # noqa: ANN401 # JSON
    inputs = [
        {"name": name, "shape": [rows, 1], "datatype": DATATYPES[name], "data": [[value]] * rows}
        for name, value in PASSENGER.items()
    ]
    return json.dumps({"inputs": inputs} | members).encode()


@pytest.mark.parametrize("path", [REST, V2])
def test_rejected_from_the_head(path: str) -> None:
    """A large request to a full queue gets 429 early; its connection stays usable."""
    with wire(Repository.load(MODELS), max_queue_rows=2, queue_delay_us=500_000) as served:
        waiting, large = served.connect(), served.connect()
        waiting.sendall(post(REST, {"records": [PASSENGER] * 2}))
        served.turn()
        large.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n".encode())
        ((status, headers, body),) = served.read(large)
        assert (status, json.loads(body)["code"]) == (429, "resource_exhausted")
        assert int(headers["retry-after"]) > 0
        assert served.read(waiting)[0][0] == 200
        served.during(lambda: large.sendall(b"x" * 200_000 + post(REST, PASSENGER)))
        assert served.read(large)[0][0] == 200
        assert counted(served).failures["resource_exhausted"] == 1
        for connection in (waiting, large):
            connection.close()


def test_a_length_of_many_digits_to_a_full_queue() -> None:
    """A content-length with too many digits gets 400, also when the queue is full."""
    with wire(Repository.load(MODELS), max_queue_rows=2, queue_delay_us=500_000) as served:
        waiting, large = served.connect(), served.connect()
        waiting.sendall(post(REST, {"records": [PASSENGER] * 2}))
        served.turn()
        large.sendall(f"POST {REST} HTTP/1.1\r\nhost: x\r\ncontent-length: {200_000:04301}\r\n\r\n".encode())
        ((status, _, body),) = served.read(large)
        assert (status, json.loads(body)["field"]) == (400, "content-length")
        assert served.read(waiting)[0][0] == 200
        for connection in (waiting, large):
            connection.close()


def test_large_bodies_have_the_same_answers(server: httpx.Client) -> None:
    """A large body, compressed or not, gives the same predictions as a small one."""
    alone = server.post(REST, json=PASSENGER).json()["probability"]
    for body, headers in ((_records(), {}), (gzip.compress(_records()), {"content-encoding": "gzip"})):
        response = server.post(REST, content=body, headers=JSON | headers)
        assert [each["probability"] for each in response.json()["predictions"]] == [alone] * ROWS
    assert server.post(V2, content=_tensors()).json()["outputs"][0]["shape"][0] == ROWS
    batch = server.post(BATCH, content=_records(), headers=JSON)
    assert [each["probability"] for each in batch.json()["predictions"]] == [alone] * ROWS


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (REST, _records(sex="x"), "records[999].sex"),
        (V2, _tensors(parameters={"timeout": -1}), "parameters"),
        (V2, _tensors().replace(b"[[1]", b'[["1"]', 1), "pclass"),
        (BATCH, _records(age=121), "records[999].age"),
    ],
)
def test_a_wrong_large_body_names_the_field(server: httpx.Client, path: str, body: bytes, field: str) -> None:
    """An error in a large body gets 400 and names the field, compressed or not."""
    for content, headers in ((body, {}), (gzip.compress(body), {"content-encoding": "gzip"})):
        response = server.post(path, content=content, headers=JSON | headers)
        assert response.status_code == 400
        assert field in response.text


def test_a_deadline_within_a_large_body(server: httpx.Client) -> None:
    """A timeout stated in a large body counts from the body's arrival."""
    response = server.post(V2, content=_tensors(parameters={"timeout": 1}))
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("path", [REST, V2, "/api/explain", PREDICT])
def test_a_ratio_that_no_honest_body_has(server: httpx.Client, path: str) -> None:
    """A body with an extreme compression ratio is rejected; 10,000 equal records are accepted."""
    bomb = gzip.compress(b'""' * (2 * 1024 * 1024 - 32))
    response = server.post(path, content=bomb, headers=JSON | {"content-encoding": "gzip"})
    assert response.status_code == (429 if path == PREDICT else 413)
    assert f"expected at most {FREE_BYTES} bytes, plus 256 for each compressed byte" in response.text
    honest = gzip.compress(json.dumps({"records": [PASSENGER] * 10_000}).encode())
    answered = server.post(REST, content=honest, headers=JSON | {"content-encoding": "gzip"})
    assert len(answered.json()["predictions"]) == 10_000


def test_protobuf_json_has_a_size(server: httpx.Client) -> None:
    """Only JSON that protobuf must decode has a lower size limit."""
    large = json.dumps({"modelName": "titanic", "inputs": [{"name": "age"}] * 10_000}).encode()
    response = server.post(INFER, content=large, headers=JSON)
    assert (response.status_code, response.json()["code"]) == (429, "resource_exhausted")
    assert "expected at most 98304 bytes of JSON" in response.text
    assert server.post(BATCH, content=_records(2000), headers=JSON).status_code == 200
    small = json.dumps({"modelName": "titanic", "inputs": [{"name": "age"}] * 1000}).encode()
    assert server.post(INFER, content=small, headers=JSON).status_code == 400


@pytest.mark.parametrize("junk", [b"\x2a\x00", b"\x7b\x7c\x2a\x00"], ids=["inputs", "groups"])
def test_fields_of_a_message_are_counted(server: httpx.Client, junk: bytes) -> None:
    """A protobuf message with too many empty fields is rejected before protobuf decodes it."""
    body = junk * (4 * 1024 * 1024 // len(junk))
    response = server.post(INFER, content=body, headers={"content-type": "application/proto"})
    assert (response.status_code, response.json()["code"]) == (429, "resource_exhausted")
    assert "expected at most 16384 fields" in response.text


def test_base64_in_many_pieces(server: httpx.Client) -> None:
    """A gRPC-Web text body with a million padded pieces is rejected."""
    headers = {"content-type": "application/grpc-web-text"}
    response = server.post(PREDICT, content=b"AA==" * 500_000, headers=headers)
    assert b"padded pieces" in base64.b64decode(response.content)


def test_messages_that_wait_are_bounded() -> None:
    """JSON messages above the queue limit are rejected; cancelled ones are never decoded."""
    gate, decoded = threading.Event(), list[int]()

    def decode(number: int) -> None:
        assert gate.wait(HUNG_S)
        decoded.append(number)

    async def main() -> None:
        messages = JsonMessages(100_000)
        size = LOOP_BYTES + 1
        runs = [asyncio.ensure_future(messages.run(lambda n=n: decode(n), size)) for n in range(MAX_WAITING)]  # type: ignore[misc]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted):
            await messages.run(lambda: None, size)
        for left in runs[1:-1]:
            left.cancel()
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*runs, return_exceptions=True)
        with pytest.raises(PayloadTooLarge):
            messages.check_size(100_001)

    asyncio.run(main())
    assert decoded == [0, MAX_WAITING - 1]


class _Run:
    """Runs batches and records them."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, items: Any) -> tuple[list[int], Stages]:  # noqa: ANN401 # a sequence of numbers
        self.batches.append([*items])
        return [*items], Stages(0, 0, 0)


async def _undecoded(run: _Run, executor: ThreadPoolExecutor) -> None:
    gate, decoded = threading.Event(), list[int]()
    batcher: Batcher[int, int] = Batcher(run, Limits(10, 100), executor)

    def decode(item: int, rows: int) -> tuple[int, int]:
        assert gate.wait(HUNG_S)
        decoded.append(item)
        if item == 3:
            raise InvalidArgument("wrong")
        return item, rows

    waiters = [Waiter[int]() for _ in range(5)]
    drops = [
        batcher.submit_undecoded(lambda n=n: decode(n, 5), 20, waiter)  # type: ignore[misc]
        for n, waiter in enumerate(waiters)
    ]
    assert batcher.rows == 100
    with pytest.raises(ResourceExhausted):
        batcher.check_room(1)
    with pytest.raises(ResourceExhausted):
        batcher.submit_undecoded(lambda: (9, 1), 1, Waiter[int]())
    waiters[1].deliver(Canceled("gone"))
    drops[2]()
    gate.set()
    found = await asyncio.gather(*(waiter.result() for waiter in waiters), return_exceptions=True)
    assert [type(each) for each in found] == [int, Canceled, Canceled, InvalidArgument, int]
    assert (decoded, run.batches, batcher.rows, batcher.counters.pending) == ([0, 3, 4], [[0], [4]], 0, 0)
    counters = batcher.counters
    assert (counters.requests, counters.rows, counters.runs) == (2, 10, 2)
    assert counters.failures == {"resource_exhausted": 1, "canceled": 2, "invalid_argument": 1}


def test_what_waits_is_not_decoded() -> None:
    """Items wait undecoded and count by estimated rows; cancelled items are never decoded."""
    with ThreadPoolExecutor(1) as executor:
        asyncio.run(_undecoded(_Run(), executor))


def test_rows_are_estimated_from_bytes() -> None:
    """The row estimate starts high, falls slowly, rises at once, and is bounded."""
    estimate = RowEstimate(50.0, 1000)
    assert [estimate.rows(size) for size in (0, 50, 5000, 10**9)] == [1, 1, 100, 1000]
    estimate.learn(1000, 100)
    assert estimate.rows(5000) == 500
    for _ in range(3):
        estimate.learn(10_000, 1)
    assert estimate.rows(5000) == 376
    for _ in range(100):
        estimate.learn(10_000, 100)
    assert estimate.rows(5000) == 50


def test_rejections_have_a_pace() -> None:
    """Some rejections are free; further ones are slowed to a share of the CPU time."""
    clock = [0.0, 0.0]
    pace = RejectionPace(lambda: clock[0], lambda: clock[1])
    delays = [pace.delay_s(200_000) for _ in range(200)]
    assert delays[0] == 0
    assert delays == sorted(delays)
    assert 0.1 < delays[-1] <= 1
    clock[:] = [10.0, 2.5]  # a quarter of a CPU
    slower = [pace.delay_s(200_000) for _ in range(200)]
    assert slower[-1] > 2 * delays[-1] or slower[-1] == 1
    clock[:] = [20.0, 5.0]
    assert pace.delay_s(200_000) == 0
