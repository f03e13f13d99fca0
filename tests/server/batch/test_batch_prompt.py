"""Rows return as soon as they are scored, however slowly the next rows arrive."""

import http.client
import io

import httpx
import pyarrow as pa
import pytest

_TIMEOUT_S = 20
_ROWS = 100
_PASSENGER = {"pclass": 1, "sex": "female", "age": 29.0, "sibsp": 0, "parch": 0, "fare": 9.5}


def _two_batches(*, coded: bool) -> tuple[bytes, bytes]:
    """Return an Arrow stream cut in the middle of its second record batch.

    With `coded` one column is dictionary encoded.
    """
    table = pa.Table.from_pylist([_PASSENGER] * _ROWS)
    if coded:
        table = table.set_column(1, "sex", table["sex"].combine_chunks().dictionary_encode())
    batch = table.combine_chunks().to_batches()[0]
    out = io.BytesIO()
    with pa.ipc.new_stream(out, batch.schema) as stream:
        stream.write_batch(batch)
        first = out.tell()
        stream.write_batch(batch)
    cut = (first + out.tell()) // 2
    return out.getvalue()[:cut], out.getvalue()[cut:]


@pytest.mark.parametrize("coded", [False, True], ids=["plain", "read apart"])
def test_scored_rows_do_not_wait_for_the_next_record_batch(server: httpx.Client, *, coded: bool) -> None:
    """The first record batch is scored while the second is half sent; the rest follows."""
    begun, rest = _two_batches(coded=coded)
    connection = http.client.HTTPConnection(str(server.base_url.host), server.base_url.port, timeout=_TIMEOUT_S)
    connection.putrequest("PUT", "/api/batch")
    connection.putheader("content-length", str(len(begun) + len(rest)))
    connection.endheaders(begun)
    response = connection.getresponse()
    assert response.status == 200
    scored = pa.ipc.open_stream(response)
    assert scored.read_next_batch().num_rows == _ROWS
    connection.send(rest)
    assert scored.read_next_batch().num_rows == _ROWS
    connection.close()
