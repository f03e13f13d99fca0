"""Cut a stream of CSV into whole records; line ends in quotes end none."""

import itertools
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from server.codecs.tables.limits import MAX_RECORD_BYTES, TEXT_ROWS
from server.codecs.tables.table import Source
from server.errors import InvalidArgument, PayloadTooLarge

DELIMITERS: Final = (",", ";", "\t", "|")
"""Delimiters to try if the client states none."""
_READ_BYTES: Final = 128 * 1024
_SEPARATOR_LINE: Final = re.compile(rb"\s*sep=(?P<delimiter>[ -~\t])\s*", re.IGNORECASE)
"""A first line that states the delimiter for a spreadsheet."""
_LONG_BYTES: Final = 64 * 1024
_GROWTH: Final = 8
"""A record longer than _LONG_BYTES is scanned again only after it has grown by 1/_GROWTH."""
Ends = NDArray[np.intp]
"""Offsets of the ends of records in their text."""


class CsvRecords:
    """Splitter of a CSV stream into records."""

    def __init__(self, source: Source) -> None:
        """Read records from `source`."""
        self.delimiter = "".join(DELIMITERS).encode()
        """Delimiter before a quote that opens a field: one character, or all candidates."""
        self.stated_delimiter: str | None = None
        """The delimiter that a first line `sep=;` states."""
        self.is_one_line = False
        """Whether the whole stream contains no line end."""
        self.max_rows = TEXT_ROWS
        """Maximum rows of a block."""
        self.source = source
        self._buffer = b""

    def header(self) -> bytes:
        """Return the first record that is not blank, without byte order mark and `sep=;` line."""
        while len(self._buffer) < len(BOM_UTF8) and self._read_more():
            pass
        self._buffer = self._buffer.removeprefix(BOM_UTF8)
        header = self._first_record()
        match = _SEPARATOR_LINE.fullmatch(header)
        if match is None:
            return header
        self.delimiter = match["delimiter"]
        self.stated_delimiter = self.delimiter.decode()
        return self._first_record()

    def peek(self, records: int) -> list[bytes]:
        """Return at most `records` records after the header, from the bytes of one more read."""
        self._read_more()
        ends = self._record_ends(self._buffer)[:records].tolist()
        return [self._buffer[start:end].strip(b"\r\n") for start, end in itertools.pairwise([0, *ends])]

    def _first_record(self) -> bytes:
        """Return the first record that is not blank."""
        while True:
            ends = self._record_ends(self._buffer)
            if len(ends):
                header, self._buffer = self._buffer[: ends[0]], self._buffer[ends[0] :]
                return header.strip(b"\r\n")
            if b"\r" in self._buffer[:-1] and b"\n" not in self._buffer and b'"' not in self._buffer:
                raise InvalidArgument("body: expected lines to end in LF or CRLF; got CR alone")
            if not self._read_more():
                break
        header, self._buffer = self._buffer.strip(b"\r\n"), b""
        if not header:
            raise InvalidArgument("body: expected a header of column names; it is empty")
        self.is_one_line = self.stated_delimiter is None
        return header

    def rest(self) -> bytes:
        """Return the bytes that were read after the header."""
        buffer, self._buffer = self._buffer, b""
        return buffer

    def blocks(self) -> Iterator[tuple[bytes, Ends]]:
        """Yield whole records and the end of each, at most `max_rows` at a time."""
        while True:
            ends = self._record_ends(self._buffer)
            while len(ends):
                block, ends = ends[: self.max_rows], ends[self.max_rows :]
                stop = int(block[-1])
                text, self._buffer = self._buffer[:stop], self._buffer[stop:]
                yield text, block
                ends = ends - stop
            if not self._read_more():
                break
        if self._buffer.strip(b"\r\n"):
            yield from self._last_record()

    def _last_record(self) -> Iterator[tuple[bytes, Ends]]:
        """Yield the last record, which no line end follows."""
        text = self._buffer + b"\n"
        ends = self._record_ends(text)
        if not len(ends):
            raise InvalidArgument("body: expected every quote to be closed; the last record's is not")
        yield text, ends

    def _read_more(self) -> bool:
        """Read more bytes; return False at the end.

        A long record must grow by a part before it is scanned again. Otherwise each read would scan the whole record.
        """
        buffered_bytes = len(self._buffer)
        if buffered_bytes > MAX_RECORD_BYTES:
            message = f"expected records of at most {MAX_RECORD_BYTES} bytes; is a quote never closed?"
            raise PayloadTooLarge(f"body: {message}")
        missing_bytes = max(1, buffered_bytes // _GROWTH if buffered_bytes > _LONG_BYTES else 0)
        parts = [self._buffer]
        while missing_bytes > 0 and (data := self.source.read(_READ_BYTES)):
            parts.append(data)
            missing_bytes -= len(data)
        self._buffer = b"".join(parts)
        return len(parts) > 1

    def _record_ends(self, text: bytes) -> Ends:
        """Return the ends of the whole records in `text`.

        A blank line belongs to the record before it.
        """
        characters = np.frombuffer(text, np.uint8)
        ends = np.flatnonzero(characters == ord("\n")) + 1
        if b'"' in text:
            ends = self._outside_quotes(text, characters, ends)
        if not len(ends):
            return ends
        starts = np.concatenate(([0], ends[:-1]))
        lengths = ends - starts
        is_blank = (lengths == 1) | ((lengths == 2) & (characters[starts] == ord("\r")))
        if not is_blank.any():
            return ends
        # The end of a blank line replaces the end of the record before it. Blank lines before the first record belong
        # to that record.
        records = np.flatnonzero(~is_blank)
        return ends[np.append(records[1:] - 1, len(ends) - 1)] if len(records) else ends[:0]

    def _outside_quotes(self, text: bytes, characters: NDArray[np.uint8], ends: Ends) -> Ends:
        """Return the line ends that end a record: an even number of quotes precedes them."""
        quotes = np.flatnonzero(characters == ord('"'))
        openings = quotes[::2]
        previous = characters[np.maximum(openings - 1, 0)]
        field_starts = np.isin(previous, np.frombuffer(b'"\n' + self.delimiter, np.uint8)) | (openings == 0)
        if not field_starts.all():
            return self._match_records(text)
        outside: Ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
        return outside

    def _match_records(self, text: bytes) -> Ends:
        """Return the ends of records by a regular expression, one record at a time.

        A quote inside a field that does not begin with a quote is an ordinary character; counting quotes fails there.
        """
        delimiters = re.escape(self.delimiter)
        field = rb'(?:"(?:[^"]|"")*+"[^\n%b]*+|[^"\n%b][^\n%b]*+|)' % (delimiters, delimiters, delimiters)
        record = re.compile(rb"%b(?:[%b]%b)*+\n" % (field, delimiters, field))
        ends: list[int] = []
        while match := record.match(text, ends[-1] if ends else 0):
            ends.append(match.end())
        return np.array(ends, np.intp)


def split_by_fields(text: bytes, ends: Ends, delimiter: str, number: int) -> list[tuple[int, Ends]]:
    """Return parts of the text: start offset and ends of records, last part first.

    Each record without exactly `number` fields is a part of its own. In text without quotes, counting delimiters finds
    these records. It costs less than parsing again after each error of the library. Text with quotes is one part.
    """
    if b'"' in text:
        return [(0, ends)]
    starts = np.concatenate(([0], ends[:-1]))
    delimiters = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(delimiter))
    fields = np.searchsorted(delimiters, ends) - np.searchsorted(delimiters, starts) + 1
    misfits = np.flatnonzero(fields != number)
    parts = np.split(np.arange(len(ends)), np.unique(np.concatenate((misfits, misfits + 1))))
    return [(int(starts[part[0]]), ends[part]) for part in parts if len(part)][::-1]
