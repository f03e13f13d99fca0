"""Concurrent requests get bit-identical responses to sequential ones, from the real server over sockets."""

import asyncio
import json
from typing import Any, Final

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.passenger import DATATYPES
from tests.server.support.process import HUNG_S, serving

Request = tuple[str, bytes]
MOST_AT_ONCE: Final = 24
brief = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def _value(name: str) -> st.SearchStrategy[Any]:
    ages = st.floats(0, 120, width=32) | st.none()
    fares = st.floats(0, 600, width=32) | st.none()
    return {
        "pclass": st.sampled_from([1, 2, 3]),
        "sex": st.sampled_from(["female", "male"]),
        "age": ages,
        "sibsp": st.integers(0, 8),
        "parch": st.integers(0, 8),
        "fare": fares,
        "embarked": st.sampled_from(["C", "Q", "S", None]),
    }[name]


records = st.fixed_dictionaries({name: _value(name) for name in DATATYPES})
many = st.builds(
    lambda some, times: (some * times)[:700], st.lists(records, min_size=1, max_size=5), st.integers(1, 300)
)
"""Lists of records; the long ones exceed a batch and run in a thread."""


def _tensors(rows: list[dict[str, Any]]) -> dict[str, Any]:
    columns = {name: [row[name] for row in rows] for name in DATATYPES}
    return {
        "inputs": [
            {"name": name, "shape": [len(rows), 1], "datatype": DATATYPES[name], "data": columns[name]}
            for name in columns
        ]
    }


def _body(path: str, document: object) -> Request:
    return path, json.dumps(document).encode()


requests = st.one_of(
    records.map(lambda record: _body("/api/predict", record)),
    many.map(lambda rows: _body("/api/predict", {"records": rows})),
    many.map(lambda rows: _body("/v2/models/titanic/infer", _tensors(rows))),
    records.map(lambda record: _body("/api/predict", record | {"age": -1})),
    st.just(("/api/predict", b"{")),
)


async def _together(base: str, batch: list[Request]) -> list[tuple[int, bytes]]:
    limits = httpx.Limits(max_connections=MOST_AT_ONCE)
    async with httpx.AsyncClient(base_url=base, limits=limits, timeout=HUNG_S, trust_env=False) as client:
        answers = await asyncio.gather(*(client.post(path, content=body) for path, body in batch))
    return [(answer.status_code, answer.content) for answer in answers]


@pytest.mark.parametrize("delay_us", ["0", "2000"], ids=["no delay", "2 ms delay"])
def test_company_changes_no_bit(delay_us: str) -> None:
    """Responses are the same bytes concurrently as alone, also for invalid requests."""
    with serving(LIFEBOAT_QUEUE_DELAY_US=delay_us, LIFEBOAT_MAX_BATCH_ROWS="64") as alone:

        @settings(
            max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(st.lists(requests, min_size=2, max_size=MOST_AT_ONCE))
        def check(batch: list[Request]) -> None:
            expected = [alone.post(path, content=body) for path, body in batch]
            got = asyncio.run(_together(str(alone.base_url), batch))
            assert got == [(answer.status_code, answer.content) for answer in expected]

        check()
