"""Cut a stream of NDJSON into lines."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Final

from server.codecs.tables.limits import MAX_RECORD_BYTES, TEXT_ROWS
from server.codecs.tables.table import Source, check
from server.errors import PayloadTooLarge

_READ_BYTES: Final = 128 * 1024


def lines(source: Source) -> Iterator[list[bytes]]:
    """Yield lines that are not blank, at most TEXT_ROWS at a time."""
    buffer = b""
    while len(buffer) < len(BOM_UTF8) and (data := source.read(_READ_BYTES)):
        buffer += data
    buffer = buffer.removeprefix(BOM_UTF8)
    while data := source.read(_READ_BYTES):
        complete, end, buffer = (buffer + data).rpartition(b"\n")
        if len(buffer) > MAX_RECORD_BYTES:
            raise PayloadTooLarge(f"body: expected lines of at most {MAX_RECORD_BYTES} bytes")
        if end:
            yield from _blocks(complete)
    yield from _blocks(buffer)


def _blocks(text: bytes) -> Iterator[list[bytes]]:
    lines = [line for line in text.split(b"\n") if line and not line.isspace()]
    for start in range(0, len(lines), TEXT_ROWS):
        yield lines[start : start + TEXT_ROWS]


def first_block(lines: Iterator[list[bytes]]) -> list[bytes]:
    """Return the first lines: as many as a block has, fewer if they are long."""
    first: list[bytes] = []
    size = 0
    for block in lines:
        first += block
        size += sum(map(len, block))
        if len(first) >= TEXT_ROWS or size >= MAX_RECORD_BYTES:
            break
    return first


def checked_lines(source: Source, lines: list[bytes]) -> Iterator[bytes]:
    """Yield the lines; raise the failure of their source if it fails meanwhile."""
    for line in lines:
        check(source)
        yield line
