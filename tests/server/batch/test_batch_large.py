"""A million rows at /api/batch: complete, in order, bit-identical, in constant memory."""

import io
from pathlib import Path
from typing import Final

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tests.server.support import files
from tests.server.support.files import Record, upload
from tests.server.support.process import ServerProcess

BATCH: Final = "/api/batch"
ROWS: Final = 1_000_000
FEW: Final = 50_000
MORE_MB: Final = 20
"""Maximum growth of the memory peak from FEW to ROWS rows."""


def peak_mb(process: ServerProcess) -> float:
    """Return a process's peak memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def test_a_million_rows(process: ServerProcess, client: httpx.Client, passengers: list[Record]) -> None:
    """A million rows return in order, each with onnxruntime's exact result, in bounded memory."""
    client.put(BATCH, content=files.csv(passengers, FEW))
    before_mb = peak_mb(process)
    body = files.csv(passengers, ROWS)
    text = client.put(BATCH, content=body).content
    assert peak_mb(process) - before_mb < MORE_MB
    assert [line.rpartition(b",")[0].rsplit(b",", 2)[0] for line in text.splitlines()] == body.splitlines()
    table = pyarrow.csv.read_csv(io.BytesIO(text))
    labels, probabilities = files.answers(passengers)
    times = -(-ROWS // len(passengers))
    assert (table["predicted_survived"].to_numpy() == np.tile(labels, times)[:ROWS]).all()
    for place, name in enumerate(files.ADDED[1:]):
        scored = pc.cast(table[name], pa.float32()).to_numpy()
        assert (scored == np.tile(probabilities[:, place], times)[:ROWS]).all()


def test_a_wrong_type_in_row_700_000(client: httpx.Client, passengers: list[Record]) -> None:
    """An invalid value late in a file is named, and the response is aborted.

    The server goes on.
    """
    wrong = files.csv(passengers, 699_999) + b"1,female,old,0,0,7,S\n" + files.csv(passengers, 1000).partition(b"\n")[2]
    with upload(client) as sent:
        sent.send(wrong)
        sent.end()
        assert sent.head()[0] == 200
        text, trailers = sent.rest()
    assert trailers is None
    words = b'# error: row 700000: age: expected a number from 0 to 120 or null; got "old"\n'
    assert text.endswith(words)
    assert text.count(b"\n") <= 700_001
    assert client.put(BATCH, content=files.csv(passengers[:1])).status_code == 200
