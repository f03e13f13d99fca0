"""Files that are sent or read too slowly."""

import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from tests.server.support import files
from tests.server.support.files import Record, Upload, upload
from tests.server.support.process import serving

BATCH = "/api/batch"
CRAWL_S = 0.05
"""Seconds between two bytes of a client that sends 20 bytes/s."""


@pytest.fixture
def paced() -> Iterator[httpx.Client]:
    """Yield a client of a server with one place and a minimum rate.

    The rate is 100 bytes/s, averaged over 2.5 s.
    """
    with serving(LIFEBOAT_MAX_BATCHES="1", LIFEBOAT_MAX_IDLE_S="2", LIFEBOAT_MIN_BYTES_PER_S="100") as client:
        yield client


@contextmanager
def _sending(sent: Upload, data: bytes, pause_s: float) -> Iterator[None]:
    """Send `data` repeatedly in a thread until the block ends or the connection closes."""
    ended = threading.Event()

    def send() -> None:
        with suppress(OSError):
            while not ended.wait(pause_s):
                sent.send(data)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_file_that_crawls(paced: httpx.Client, passengers: list[Record]) -> None:
    """A file below the minimum rate is ended, and its place is free again.

    It gets 408 before the response, else an aborted response.
    """
    with upload(paced) as sent, _sending(sent, b"1", CRAWL_S):
        assert sent.head()[0] == 408
    with upload(paced) as sent:
        sent.send(files.csv(passengers[:1]))
        assert sent.head()[0] == 200
        with _sending(sent, b"1", CRAWL_S):
            text, trailers = sent.rest()
    assert trailers is None
    assert text.endswith(b"# error: file: expected at least 100 bytes/s\n")
    assert paced.put(BATCH, content=files.csv(passengers[:1])).status_code == 200


def test_a_file_that_goes_on(paced: httpx.Client, passengers: list[Record]) -> None:
    """A client that still sends after an invalid row can read the error."""
    with upload(paced) as sent:
        sent.send(files.csv(passengers[:1]))
        assert sent.head()[0] == 200
        sent.send(b"1,female,old,0,0,7,S\n")
        with _sending(sent, files.csv(passengers).partition(b"\n")[2], 0):
            text, trailers = sent.rest()
    assert trailers is None
    assert b"# error: row 2: age: expected a number" in text
    assert paced.put(BATCH, content=files.csv(passengers[:1])).status_code == 200


def test_a_file_at_the_pace(paced: httpx.Client, passengers: list[Record]) -> None:
    """A file above the minimum rate is scored, even beyond the averaging window."""
    rows = 0
    with upload(paced) as sent:
        sent.send(files.csv(passengers[:1]))
        assert sent.head()[0] == 200
        for _ in range(35):
            select.select([], [], [], 0.1)
            sent.send(files.csv(passengers[:1]).partition(b"\n")[2])
            rows += 1
        sent.end()
        text, trailers = sent.rest()
    assert trailers is not None
    assert trailers["lifeboat-rows-scored"] == str(rows + 1)
    assert text.count(b"\n") > rows
