"""Check the frames of an HTTP/2 connection before zttp reads them (RFC 9113).

zttp closes a connection if a field block is too large, and has no limit for control frames. This module measures each
field block, and replaces a block that is too large (see `http2_fields`). Control frames use up a budget. Each turn of
the event loop handles a limited number of frames.
"""

import struct
from collections.abc import Callable
from typing import Final

from server.errors import ResourceExhausted
from server.http.held_bytes import HeldBytes
from server.http.http2_fields import MAX_LIST_BYTES, MalformedBlockError, Measure, frames, tighten_bound
from server.http.http2_shrinking import shrink

PROTOCOL_ERROR: Final = 1
FRAME_SIZE_ERROR: Final = 6
COMPRESSION_ERROR: Final = 9
ENHANCE_YOUR_CALM: Final = 11
"""Error codes (RFC 9113, section 7)."""
_DATA: Final = 0
_HEADERS: Final = 1
_SETTINGS: Final = 4
_WINDOW_UPDATE: Final = 8
_CONTINUATION: Final = 9
_LAST_KNOWN_TYPE: Final = 9
_END_STREAM: Final = 1
_END_HEADERS: Final = 4
_PADDED: Final = 8
_PRIORITY: Final = 32
_HEAD: Final = struct.Struct(">IBI")
"""Frame header: length and type, flags, stream."""
_HEAD_BYTES: Final = 9
_KIND_OFFSET: Final = 3
"""Offset of the type in the frame header."""
_MAX_FRAME_BYTES: Final = 16_384
"""The default of SETTINGS_MAX_FRAME_SIZE."""
_MAX_BLOCK_BYTES: Final = 4 * MAX_LIST_BYTES
_MAX_BLOCK_FRAMES: Final = 256
"""Largest field block, in bytes and frames, that is read.

A larger block ends the connection.
"""
_TURN_FRAMES: Final = 512
"""Maximum number of frames per turn of the event loop.

More frames wait for the next turn.
"""
_FIELDS_PER_FRAME: Final = 32
"""Number of fields of a block whose cost equals that of one frame."""
_SHRINK_COST: Final = 16
"""Cost in frames of a field block that is too large."""
MAX_BUDGET: Final = 2_000
"""Maximum number of control frames in a burst."""


class FrameError(Exception):
    """The connection must end, with GOAWAY and this error code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Budget:
    """Budget of control frames for one connection. Useful traffic increases it."""

    __slots__ = ("_income", "remaining")

    def __init__(self, income: Callable[[], int]) -> None:
        """Start with a full budget; `income` returns the income since its last call."""
        self.remaining = MAX_BUDGET
        self._income = income

    def spend(self, cost: int) -> None:
        """Subtract `cost`. Raises FrameError if the budget is exceeded."""
        self.remaining -= cost
        if self.remaining < 0:
            self.remaining = min(self.remaining + self._income(), MAX_BUDGET)
            if self.remaining < 0:
                raise FrameError(ENHANCE_YOUR_CALM)


class _Block:
    """A field block whose frames have not all arrived."""

    __slots__ = ("count", "flags", "held", "pieces", "size", "stream")

    def __init__(self, stream: int, flags: int, piece: bytes) -> None:
        self.stream = stream
        self.flags = flags
        self.pieces = [piece]
        self.size = len(piece)
        self.count = 0
        self.held = 0
        """Bytes of the block that are counted in the server's HeldBytes."""


class Frames:
    """The frames that a client sends on one connection."""

    def __init__(self, budget: Budget, held: HeldBytes) -> None:
        """Charge control frames to `budget`; count buffered bytes of a field block in `held`."""
        self.budget = budget
        self._held = held
        self._measure = Measure()
        self._max_plain_bytes = self._measure.max_plain_bytes
        self._tail = b""
        self._progress = 0
        """Number of turns in which a partial frame was completed or another one started."""
        self._block: _Block | None = None
        self._remaining_frames = 0
        """Number of frames that can still be handled in this turn."""
        self.shrunk: set[int] = set()
        """Streams whose field block was too large and was replaced."""
        self.window_increase = 0
        """Bytes that the client has added to the connection's window."""

    @property
    def is_behind(self) -> bool:
        """Whether frames wait for the next turn of the event loop."""
        return self._remaining_frames <= 0 and len(self._tail) > 0

    @property
    def position(self) -> tuple[bool, int]:
        """Return whether a head or control frame is incomplete, and its number."""
        if self._block is not None:
            return True, self._block.stream
        return len(self._tail) > _KIND_OFFSET and self._tail[_KIND_OFFSET] != _DATA, -self._progress

    def admit(self, data: bytes) -> bytes:
        """Return the frames for zttp to read in this turn, and buffer the rest.

        Raises FrameError.
        """
        if self._tail:
            data = self._tail + data
        at = start = 0
        end = len(data)
        pieces: list[bytes] = []
        self._remaining_frames = _TURN_FRAMES
        while end - at >= _HEAD_BYTES and self._remaining_frames > 0:
            length_and_kind, flags, stream = _HEAD.unpack_from(data, at)
            length = length_and_kind >> 8
            frame_end = at + _HEAD_BYTES + length
            if frame_end > end:
                if length > _MAX_FRAME_BYTES:
                    raise FrameError(FRAME_SIZE_ERROR)
                break
            self._remaining_frames -= 1
            kind = length_and_kind & 0xFF
            is_plain = (
                length <= self._max_plain_bytes and flags & _END_HEADERS
                if kind == _HEADERS
                else kind == _DATA and length and not flags & _PADDED
            )
            if not is_plain or self._block is not None:
                replacement = self._examine(kind, flags, stream, data[at + _HEAD_BYTES : frame_end])
                if replacement is not None:
                    pieces += (data[start:at], replacement)
                    start = frame_end
            at = frame_end
        if not pieces and at == end:
            self._tail = b""
            return data
        if at or not self._tail:
            self._progress += 1
        self._tail = data[at:]
        return b"".join((*pieces, data[start:at]))

    def close(self) -> None:
        """Drop buffered bytes."""
        self._tail = b""
        self._drop_block()

    def _examine(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes | None:
        """Return the replacement of a frame; None to keep the frame. Raises FrameError."""
        block = self._block
        if block is not None:
            if kind != _CONTINUATION or stream != block.stream:
                raise FrameError(PROTOCOL_ERROR)
            return self._continue(block, flags, payload)
        if kind == _HEADERS:
            return self._begin(flags, stream, payload)
        if kind == _DATA:
            if _is_empty(flags, payload) and not flags & _END_STREAM:
                self.budget.spend(1)
            return None
        cost = 1
        if kind == _SETTINGS:
            cost += 8 + len(payload) // 8
        elif kind > _LAST_KNOWN_TYPE:
            cost += len(payload) // 1024
        elif kind == _WINDOW_UPDATE and not stream and len(payload) == 4:
            self.window_increase += int.from_bytes(payload, "big") & 0x7FFF_FFFF
        self.budget.spend(cost)
        return None

    def _begin(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        """Process a HEADERS frame that is not both short and complete."""
        piece = _fragment(flags, payload)
        if not flags & _END_HEADERS:
            self._block = _Block(stream, flags, piece)
            return b""
        return self._complete_block(stream, flags, piece, is_framed=True)

    def _continue(self, block: _Block, flags: int, payload: bytes) -> bytes | None:
        """Process a CONTINUATION frame.

        A field block with too many frames or bytes ends the connection.
        """
        self.budget.spend(1)
        block.pieces.append(payload)
        block.size += len(payload)
        block.count += 1
        if block.size > _MAX_BLOCK_BYTES or block.count > _MAX_BLOCK_FRAMES:
            raise FrameError(ENHANCE_YOUR_CALM)
        try:
            self._held.take(len(payload), block.held)
        except ResourceExhausted:
            raise FrameError(ENHANCE_YOUR_CALM) from None
        block.held += len(payload)
        if not flags & _END_HEADERS:
            return b""
        self._drop_block()
        return self._complete_block(block.stream, block.flags, b"".join(block.pieces), is_framed=False)

    def _drop_block(self) -> None:
        if self._block is not None:
            self._held.give_back(self._block.held)
            self._block = None

    def _complete_block(self, stream: int, flags: int, block: bytes, *, is_framed: bool) -> bytes | None:
        """Return the frames of a complete field block; None to keep its single frame."""
        try:
            fields, size = self._measure.fields(block)
        except MalformedBlockError:
            raise FrameError(COMPRESSION_ERROR) from None
        self._max_plain_bytes = self._measure.max_plain_bytes
        self._remaining_frames -= len(fields) // _FIELDS_PER_FRAME
        self.budget.spend(len(fields) // _FIELDS_PER_FRAME)
        if size > MAX_LIST_BYTES and len(block) <= MAX_LIST_BYTES:
            size = tighten_bound(block, fields, size)
        if size > MAX_LIST_BYTES or len(block) > MAX_LIST_BYTES:
            self.budget.spend(_SHRINK_COST)
            self._remaining_frames -= _SHRINK_COST
            self.shrunk.add(stream)
            block = shrink(block, fields)
        elif is_framed:
            return None
        return b"".join(frames(stream, block, ends_stream=bool(flags & _END_STREAM)))


def _is_empty(flags: int, payload: bytes) -> bool:
    """Return True if a DATA frame contains only padding."""
    return not payload or bool(flags & _PADDED and payload[0] >= len(payload) - 1)


def _fragment(flags: int, payload: bytes) -> bytes:
    """Return the field block fragment of a HEADERS frame. Raises FrameError."""
    start, end = 0, len(payload)
    if flags & _PADDED:
        if not payload:
            raise FrameError(FRAME_SIZE_ERROR)
        start, end = 1, end - payload[0]
    if flags & _PRIORITY:
        start += 5
    if start > end:
        raise FrameError(PROTOCOL_ERROR)
    return payload[start:end]
