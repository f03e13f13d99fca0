"""A stream of CSV to whole records: where each ends, whatever stands in quotes."""

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidArgument, PayloadTooLarge
from server.tables.blocks import MAX_RECORD_BYTES, TEXT_ROWS, Source

DELIMITERS: Final = (",", ";", "\t", "|")
"""What may stand between columns where nothing is said."""
_READ_BYTES: Final = 128 * 1024
_LONG_BYTES: Final = 64 * 1024
_GROWTH: Final = 8
"""A record longer than _LONG_BYTES is looked at again when it has grown by such a part."""
Ends = NDArray[np.intp]
"""Where records end in their text."""


class CsvRecords:
    """Cuts a stream between records."""

    def __init__(self, source: Source) -> None:
        """Read `source`."""
        self.delimiter = "".join(DELIMITERS).encode()
        """What stands before a quote that opens a field: one character, or each that it may be."""
        self._source = source
        self._held = b""

    def header(self) -> bytes:
        """Return the first record that isn't blank, without a byte order mark."""
        while len(self._held) < len(BOM_UTF8) and self._more():
            pass
        self._held = self._held.removeprefix(BOM_UTF8)
        while True:
            ends = self._whole(self._held)
            if len(ends):
                header, self._held = self._held[: ends[0]], self._held[ends[0] :]
                return header.strip(b"\r\n")
            if b"\r" in self._held[:-1] and b"\n" not in self._held and b'"' not in self._held:
                raise InvalidArgument("body: expected lines to end in LF or CRLF; got CR alone")
            if not self._more():
                break
        header, self._held = self._held.strip(b"\r\n"), b""
        if not header:
            raise InvalidArgument("body: expected a header of column names; it is empty")
        return header

    def rest(self) -> bytes:
        """Return what was read behind the header."""
        held, self._held = self._held, b""
        return held

    def blocks(self) -> Iterator[tuple[bytes, Ends]]:
        """Yield some whole records and where each ends, at most TEXT_ROWS at a time."""
        while True:
            ends = self._whole(self._held)
            while len(ends):
                block, ends = ends[:TEXT_ROWS], ends[TEXT_ROWS:]
                stop = int(block[-1])
                text, self._held = self._held[:stop], self._held[stop:]
                yield text, block
                ends = ends - stop
            if not self._more():
                break
        if self._held.strip(b"\r\n"):
            yield from self._last()

    def _last(self) -> Iterator[tuple[bytes, Ends]]:
        """Yield the record that no line end follows."""
        text = self._held + b"\n"
        ends = self._whole(text)
        if not len(ends):
            raise InvalidArgument("body: expected every quote to be closed; the last record's is not")
        yield text, ends

    def _more(self) -> bool:
        """Read on; False at the end. A long record must grow before it is looked at again, or each piece costs all."""
        before = len(self._held)
        if before > MAX_RECORD_BYTES:
            words = f"expected records of at most {MAX_RECORD_BYTES} bytes; is a quote never closed?"
            raise PayloadTooLarge(f"body: {words}")
        missing = max(1, before // _GROWTH if before > _LONG_BYTES else 0)
        parts = [self._held]
        while missing > 0 and (data := self._source.read(_READ_BYTES)):
            parts.append(data)
            missing -= len(data)
        self._held = b"".join(parts)
        return len(parts) > 1

    def _whole(self, text: bytes) -> Ends:
        """Return where each record ends that `text` holds whole; blank lines belong to the record before them."""
        characters = np.frombuffer(text, np.uint8)
        ends = np.flatnonzero(characters == ord("\n")) + 1
        if b'"' in text:
            ends = self._outside_quotes(text, characters, ends)
        if not len(ends):
            return ends
        starts = np.concatenate(([0], ends[:-1]))
        lengths = ends - starts
        blank = (lengths == 1) | ((lengths == 2) & (characters[starts] == ord("\r")))
        if not blank.any():
            return ends
        # A blank line is moved to the end of the record before it; those before the first record are its own.
        kept = np.flatnonzero(~blank)
        return ends[np.append(kept[1:] - 1, len(ends) - 1)] if len(kept) else ends[:0]

    def _outside_quotes(self, text: bytes, characters: NDArray[np.uint8], ends: Ends) -> Ends:
        """Return those of the line ends that are ends of records: an even number of quotes stands before them."""
        quotes = np.flatnonzero(characters == ord('"'))
        openings = quotes[::2]
        before = characters[np.maximum(openings - 1, 0)]
        field_starts = np.isin(before, np.frombuffer(b'"\n' + self.delimiter, np.uint8)) | (openings == 0)
        if not field_starts.all():
            return self._one_by_one(text)
        outside: Ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
        return outside

    def _one_by_one(self, text: bytes) -> Ends:
        """Do the same where a quote stands in a field that doesn't begin with one: there it is a character."""
        these = re.escape(self.delimiter)
        field = rb'(?:"(?:[^"]|"")*+"[^\n%b]*+|[^"\n%b][^\n%b]*+|)' % (these, these, these)
        record = re.compile(rb"%b(?:[%b]%b)*+\n" % (field, these, field))
        ends: list[int] = []
        while found := record.match(text, ends[-1] if ends else 0):
            ends.append(found.end())
        return np.array(ends, np.intp)
