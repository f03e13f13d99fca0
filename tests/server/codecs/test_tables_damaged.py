"""Damaged, truncated or forged files get an error in bounded memory.

The next file is scored.
"""

import gzip
import io
import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.codecs.tables.compression import CompressingSink
from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET
from server.errors import CODES
from server.models.repository import Repository
from tests.server.support.in_process import InProcess
from tests.server.support.rpc import MODELS
from tests.server.support.tables import FORMS, PASSENGERS, Kept, score, titanic, write

TABLE: Final = pa.table({name: values * 5 for name, values in PASSENGERS.items()})
LISTS: Final[dict[str, Any]] = {
    "list": pa.array([["a", None], None, [], ["b"]] * 5, pa.list_(pa.string_view())),
    "struct": pa.array([{"a": 1, "b": [True]}, None, {"a": None, "b": []}, {"a": 2, "b": None}] * 5),
    "codes": pa.array(["p", "q", None, "p"] * 5).dictionary_encode(),
    "view": pa.array(["p", "q" * 20, None, ""] * 5, pa.string_view()),
    "fixed": pa.array([b"ab", None, b"cd", b"ef"] * 5, pa.binary(2)),
}
brief = settings(
    max_examples=250, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def _ipc(table: pa.Table, codec: Any = None, *, file: bool = False) -> bytes:  # noqa: ANN401 # pyarrow's codec type
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(out, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=8)
    return out.getvalue()


def _nested() -> pa.Table:
    table = TABLE
    for name, column in LISTS.items():
        table = table.append_column(name, column)
    return table


def _packed(body: bytes) -> bytes:
    kept = Kept()
    packed = CompressingSink(kept, "zstd")
    packed.write(body)
    packed.end()
    return bytes(kept.data)


SOUND: Final[dict[str, bytes]] = {
    "csv": write(TABLE, CSV),
    "ndjson": write(TABLE, NDJSON),
    "arrow": _ipc(TABLE),
    "arrow zstd": _ipc(TABLE, "zstd"),
    "arrow file": _ipc(TABLE, file=True),
    "arrow nested": _ipc(_nested()),
    "arrow nested lz4": _ipc(_nested(), "lz4"),
    "gzip": gzip.compress(write(TABLE, CSV), mtime=0),
    "zstd": _packed(write(TABLE, CSV)),
}


def _damaged(body: bytes, seed: int) -> bytes:
    """Return a file with some bytes flipped, removed, inserted or replaced by invalid lengths."""
    chance = random.Random(seed)  # noqa: S311
    data = bytearray(body)
    for _ in range(chance.choice([1, 1, 2, 5])):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0 if place < len(data):
                data[place] ^= 1 << chance.randrange(8)
            case 1:
                del data[place : place + chance.randrange(1, 20)]
            case 2:
                data[place:place] = chance.randbytes(chance.randrange(1, 12))
            case 3:
                data[place : place + 4] = chance.choice([b"\xff\xff\xff\x7f", b"\xff" * 4, b"\0\0\0\x40", bytes(4)])
            case _:
                del data[place:]
    return bytes(data)


def _check(body: bytes, query: str, accept: str) -> None:
    """Score a file; any exception that is no client error fails the test."""
    answer = score(titanic(), body, query, accept=accept)
    assert answer.error is None or CODES[answer.error.code].http < 500
    if answer.error is None:
        assert answer.counts[0] == answer.counts[1] + answer.counts[2]


_queries: Final = st.sampled_from(["", "on_error=null", "on_error=skip", "columns=none"])
_accepted: Final = st.sampled_from([form.media_type for form in FORMS])


@brief
@given(st.sampled_from(sorted(SOUND)), st.integers(0, 2**64), _queries, _accepted)
def test_damaged_files(name: str, seed: int, query: str, accept: str) -> None:
    """A file with damage at any byte is scored or rejected, and the process survives."""
    _check(_damaged(SOUND[name], seed), query, accept)


PARQUETS: Final[dict[str, dict[str, Any]]] = {
    "snappy": {},
    "zstd": {"compression": "zstd"},
    "version 2": {"data_page_version": "2.0"},
    "plain": {"use_dictionary": False, "compression": "none"},
}


@settings(brief, max_examples=40)
@given(st.sampled_from(sorted(PARQUETS)), st.integers(0, 2**64), _queries)
def test_damaged_parquet(name: str, seed: int, query: str) -> None:
    """The same holds for Parquet: damage may end the reader process, but not the server."""
    out = io.BytesIO()
    pq.write_table(TABLE, out, **PARQUETS[name])
    _check(_damaged(out.getvalue(), seed), query, CSV.media_type)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_torn_packed_files(name: str) -> None:
    """A compressed file that is truncated at any byte is an error."""
    body = SOUND[name]
    assert score(titanic(), body).counts == (20, 20, 0)
    for end in range(1, len(body), 7):
        assert score(titanic(), body[:end]).error is not None


@pytest.mark.parametrize("name", ["arrow", "arrow zstd", "arrow nested", "arrow nested lz4"])
def test_torn_arrow(name: str) -> None:
    """An Arrow stream may end between two messages, but not within one."""
    body = SOUND[name]
    assert score(titanic(), body).counts == (20, 20, 0)
    for end in range(1, len(body), 61):
        torn = score(titanic(), body[:end])
        assert torn.error is not None or torn.counts[0] in {0, 8, 16, 20}
        assert torn.error is None or torn.error.code == "invalid_argument"


@pytest.mark.parametrize(
    "behind", [b"x", b"\xff\xff\xff\xff\0\0\0\0", _ipc(TABLE)], ids=["a byte", "an end", "a stream"]
)
def test_what_stands_behind_an_arrow_stream(behind: bytes) -> None:
    """Bytes after the end of an Arrow stream are an error."""
    refused = score(titanic(), _ipc(TABLE) + behind).error
    assert refused is not None
    assert refused.message == "body: expected nothing after the end of the Arrow stream"


def test_a_torn_arrow_file() -> None:
    """An IPC file without its end is rejected, even if cut between record batches."""
    whole = _ipc(TABLE, file=True)
    assert score(titanic(), whole).counts == (20, 20, 0)
    cuts = [at for at in range(9, len(whole)) if whole[at : at + 4] == b"\xff\xff\xff\xff"] + [len(whole) - 1]
    assert len(cuts) > 3
    for cut in cuts:
        refused = score(titanic(), whole[:cut]).error
        assert refused is not None, cut
        assert refused.message.startswith("body: ")


def test_torn_parquet() -> None:
    """A Parquet file without its end is rejected before its first row."""
    body = write(TABLE, PARQUET)
    for end in (4, 11, 100, len(body) // 2, len(body) - 1):
        assert "its end is missing" in score(titanic(), body[:end]).refusal().message


def _forged_lengths() -> Iterator[bytes]:
    """Yield Arrow streams with huge or wrong lengths of metadata, bodies and compressed buffers."""
    for sound in (_ipc(TABLE), _ipc(_nested())):
        yield sound[:4] + struct.pack("<i", 2**31 - 1) + sound[8:]
        batch = 8 + struct.unpack_from("<i", sound, 4)[0]
        end = batch + 8 + struct.unpack_from("<i", sound, batch + 4)[0]
        for place in range(batch + 8, end, 8):
            for number in (2**40, -8, 1, 5, 13, 64):
                yield sound[:place] + struct.pack("<q", number) + sound[place + 8 :]
    packed = _ipc(pa.table({name: values * 500 for name, values in PASSENGERS.items()}), "zstd")
    magic = packed.index(b"\x28\xb5\x2f\xfd")
    yield packed[: magic - 8] + struct.pack("<q", 2**42) + packed[magic:]


def test_forged_lengths() -> None:
    """Stated lengths of an Arrow message are checked before they are used."""
    for body in _forged_lengths():
        answer = score(titanic(), body)
        assert answer.error is None or answer.error.code in {"invalid_argument", "payload_too_large"}


def _long_value() -> bytes:
    """Return a small Parquet file with one value of a hundred megabytes."""
    out = io.BytesIO()
    strings = pa.array(["a" * 100_000_000, "b", "c", "d"], pa.large_string())
    pq.write_table(pa.table(PASSENGERS).append_column("x", strings), out, compression="zstd")
    return out.getvalue()


def _one_string_often() -> bytes:
    """Return an Arrow stream whose dictionary expands to 100 kB for each of 1,000 rows."""
    codes = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int8()), pa.array(["a" * 100_000]))
    columns = {name: values * 250 for name, values in PASSENGERS.items()}
    return write(pa.table(columns).append_column("x", codes), ARROW)


def _one_string_often_in_lists() -> bytes:
    codes = pa.DictionaryArray.from_arrays(pa.array([0] * 5_000, pa.int8()), pa.array(["a" * 100_000]))
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3, 5_000], pa.int32()), codes)
    return write(pa.table(PASSENGERS).append_column("x", lists), ARROW)


def _nothing_often() -> bytes:
    """Return an Arrow stream with a list of two billion nulls."""
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3, 2**31 - 1], pa.int32()), pa.nulls(2**31 - 1))
    return write(pa.table(PASSENGERS).append_column("x", lists), ARROW)


BOMBS: Final[dict[str, Callable[[], bytes]]] = {
    "one long value": _long_value,
    "one string often": _one_string_often,
    "one string often in lists": _one_string_often_in_lists,
    "nothing often": _nothing_often,
}
MEASURED: Final = """
import json, sys
from pathlib import Path
from tests.server.support.tables import Pieces, titanic
from server.batch.options import parse_options
from server.batch.job import Job
from server.errors import RequestError
from server.settings import Settings
from starlette.datastructures import Headers, QueryParams

class Counted:
    failure = None
    written = 0
    def write(self, data):
        self.written += len(data)
        return len(data)
    def flush(self):
        pass

def peak_kb():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

def run(body, accept):
    asked = parse_options(titanic(), QueryParams(""), Headers({"accept": accept}))
    job = Job(asked, Settings(max_record_batch_bytes=2**25))
    try:
        job.run(Pieces(body), lambda: False, Counted(), lambda form: None)
    except RequestError as error:
        return error.code
    return job.counts.read

sound, *bombs = [Path(name).read_bytes() for name in sys.argv[1:]]
run(sound, "application/vnd.apache.arrow.stream")
before = peak_kb()
answers = [run(bomb, "application/vnd.apache.arrow.stream") for bomb in bombs]
grown = peak_kb() - before
print(json.dumps([answers, grown // 1024, run(sound, "text/csv")]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in the kernel's own units")
def test_bombs_take_bounded_memory(tmp_path: Path) -> None:
    """Small files that decompress beyond the memory limit are rejected or streamed, in bounded memory."""
    names = []
    for number, body in enumerate([write(TABLE, ARROW), *(make() for make in BOMBS.values())]):
        names.append(str(tmp_path / str(number)))
        Path(names[-1]).write_bytes(body)
    command = [sys.executable, "-c", MEASURED, *names]
    root = Path(__file__).parents[3]
    printed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    answers, grown_mb, after = json.loads(printed)
    assert answers == ["payload_too_large", 1_000, "payload_too_large", "payload_too_large"]
    assert grown_mb < 256
    assert after == 20


def test_the_server_lives_on() -> None:
    """The endpoint rejects damaged files with 400, and scores the file after each of them."""
    with InProcess(Repository.load(MODELS)) as client:
        for body in (write(TABLE, PARQUET)[:-9] + b"PAR1 PAR1", SOUND["arrow"][:-40], SOUND["gzip"][:-40], b"\0" * 100):
            refused = client.post_bytes("/api/batch?columns=none", body)
            assert refused.status_code == 400
            assert refused.json()["code"] == "invalid_argument"
            answered = client.post_bytes("/api/batch?columns=none", write(TABLE, CSV))
            assert answered.status_code == 200
            assert len(answered.text.splitlines()) == 21
