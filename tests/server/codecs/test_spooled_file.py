"""The temporary file that a reader process shares with the server, including its position."""

import io
import os
from collections.abc import Callable
from typing import IO, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from server.codecs.tables import parquet
from server.codecs.tables import spooled as files

MAX_BYTES: Final = 1_000_000


@pytest.mark.parametrize("spool", [files.spool, parquet.spool], ids=["as it is", "Parquet"])
def test_closing_the_file_moves_no_position(spool: Callable[[io.BytesIO, int], IO[bytes]]) -> None:
    """Closing the file in the server doesn't move the reader process's position."""
    written = io.BytesIO()
    pq.write_table(pa.table({"age": [29.0] * 1000}), written)
    written.seek(0)
    file = spool(written, MAX_BYTES)
    theirs = os.dup(file.fileno())
    try:
        assert os.lseek(theirs, 0, os.SEEK_CUR) == 0
        assert os.read(theirs, 4) == b"PAR1"
        file.close()
        assert os.lseek(theirs, 0, os.SEEK_CUR) == 4
    finally:
        os.close(theirs)
