"""Mutations of protobuf messages, of their envelopes, and of HTTP/2 frames."""

from random import Random
from typing import Final, NamedTuple

from tests.fuzz.mutation import MAX_BYTES, Mutate, any_bytes

_VARINTS: Final = (0, 1, 2, 127, 128, 2**31, 2**32, 2**63, 2**64 - 1)
_ENVELOPE: Final = 5
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class _Field(NamedTuple):
    number: int
    kind: int
    value: bytes
    """Bytes after the tag, without the length prefix of a length-delimited field."""


def message(data: bytes, chance: Random) -> bytes:
    """Return a message with a field changed, repeated, removed, moved or retyped."""
    fields = _fields(data)
    if fields is None or not fields or chance.randrange(8) == 0:
        return any_bytes(data, chance)
    for _ in range(chance.choice((1, 1, 2, 4))):
        if fields:
            _change(fields, chance)
    return b"".join(map(_encoded, fields))[:MAX_BYTES]


def _change(fields: list[_Field], chance: Random) -> None:
    place = chance.randrange(len(fields))
    field = fields[place]
    match chance.randrange(8):
        case 0:
            fields[place:place] = [field] * (chance.choice((1, 2, 300)) if len(field.value) < 1000 else 1)
        case 1:
            del fields[place]
        case 2:
            fields[place] = field._replace(number=chance.choice((0, 1, 2, 15, 16, 19000, 2**29 - 1)))
        case 3:
            fields[place] = field._replace(kind=chance.randrange(8))
        case 4:
            other = chance.randrange(len(fields))
            fields[place], fields[other] = fields[other], fields[place]
        case 5:
            depth = chance.choice((1, 99, 101, 2000))
            value = field.value
            for _ in range(depth):
                value = _encoded(_Field(field.number, 2, value))[:MAX_BYTES]
            fields[place] = _Field(field.number, 2, value)
        case _:
            fields[place] = field._replace(value=_changed_value(field, chance))


def _changed_value(field: _Field, chance: Random) -> bytes:
    if field.kind == 0:
        return _varint(chance.choice(_VARINTS))
    if field.kind == 2:
        return message(field.value, chance)
    return any_bytes(field.value, chance)


def _fields(data: bytes) -> list[_Field] | None:
    """Return the fields of a message, or None if the bytes are no message."""
    fields = []
    place = 0
    try:
        while place < len(data):
            tag, place = _read_varint(data, place)
            kind = tag & 7
            end = place
            if kind == 0:
                _, end = _read_varint(data, place)
            elif kind == 2:
                length, place = _read_varint(data, place)
                end = place + length
            else:
                end += {1: 8, 5: 4}.get(kind, 0)
            if end > len(data):
                return None
            fields.append(_Field(tag >> 3, kind, data[place:end]))
            place = end
    except IndexError:
        return None
    return fields


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, place


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def _encoded(field: _Field) -> bytes:
    length = _varint(len(field.value)) if field.kind == 2 else b""
    return _varint(field.number << 3 | field.kind & 7) + length + field.value


def enveloped(inner: Mutate) -> Mutate:
    """Return a mutation of enveloped messages.

    It changes a message by `inner`, or the flags, lengths or number of envelopes.
    """

    def mutate(data: bytes, chance: Random) -> bytes:
        found = _envelopes(data)
        if not found or chance.randrange(10) == 0:
            return any_bytes(data, chance)
        place = chance.randrange(len(found))
        flags, body = found[place]
        stated: int | None = None
        match chance.randrange(8):
            case 0:
                flags = chance.choice((0, 1, 2, 3, 0x80, 0xFF))
            case 1:
                stated = chance.choice((0, 1, len(body) - 1, len(body) + 1, 2**31, 2**32 - 1)) % 2**32
            case 2:
                found[place:place] = [found[place]] * (chance.choice((1, 2, 100)) if len(body) < 2000 else 1)
            case 3:
                found.pop(place if len(found) > 1 else 0)
            case _:
                body = inner(body, chance)
        head = bytes([flags]) + (len(body) if stated is None else stated).to_bytes(4, "big") + body
        whole = [bytes([each]) + len(kept).to_bytes(4, "big") + kept for each, kept in found]
        whole[place : place + 1] = [head]
        return b"".join(whole)[:MAX_BYTES]

    return mutate


def _envelopes(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(data) >= _ENVELOPE:
        length = int.from_bytes(data[1:_ENVELOPE], "big")
        found.append((data[0], data[_ENVELOPE : _ENVELOPE + length]))
        data = data[_ENVELOPE + length :]
    return found


class _Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def frames(data: bytes, chance: Random) -> bytes:
    """Return an HTTP/2 connection's bytes with frames changed, repeated, removed, moved or inserted."""
    found = _frames(data.removeprefix(PREFACE))
    if not found or chance.randrange(10) == 0:
        return any_bytes(data, chance)
    for _ in range(chance.choice((1, 1, 2, 4))):
        if found:
            _change_frame(found, chance)
    return (PREFACE + b"".join(map(_framed, found)))[:MAX_BYTES]


def _change_frame(found: list[_Frame], chance: Random) -> None:
    place = chance.randrange(len(found))
    frame = found[place]
    match chance.randrange(10):
        case 0:
            found[place] = frame._replace(kind=chance.randrange(12))
        case 1:
            found[place] = frame._replace(flags=frame.flags ^ chance.choice((1, 4, 8, 32, 255)))
        case 2:
            found[place] = frame._replace(stream=chance.choice((0, 1, 2, 3, 5, 7, 2**31 - 1)))
        case 3 | 4:
            found[place] = frame._replace(payload=any_bytes(frame.payload, chance))
        case 5:
            found[place:place] = [frame] * (chance.choice((1, 2, 200)) if len(frame.payload) < 1000 else 1)
        case 6:
            del found[place]
        case 7:
            other = chance.randrange(len(found))
            found[place], found[other] = found[other], found[place]
        case 8:
            found[place:place] = [_control(chance)] * chance.choice((1, 20, 500))
        case _:
            size = chance.randrange(len(frame.payload) + 1)
            flags, first, last = frame.flags & ~4, frame.payload[:size], frame.payload[size:]
            found[place : place + 1] = [frame._replace(flags=flags, payload=first), _Frame(9, 4, frame.stream, last)]


def _control(chance: Random) -> _Frame:
    """Return a frame that carries no request: empty DATA, PRIORITY, RST_STREAM, SETTINGS, PING and others."""
    stream = chance.choice((0, 1, 3))
    number = chance.choice(_VARINTS) % 2**32
    four = number.to_bytes(4, "big")
    return chance.choice(
        (
            _Frame(0, 0, stream, b""),
            _Frame(2, 0, stream, four + b"\x10"),
            _Frame(3, 0, stream, four),
            _Frame(4, 0, 0, chance.randrange(8).to_bytes(2, "big") + four),
            _Frame(4, 1, 0, b""),
            _Frame(6, 0, 0, chance.randbytes(8)),
            _Frame(7, 0, 0, bytes(4) + four),
            _Frame(8, 0, stream, four),
            _Frame(9, 4, stream, chance.randbytes(4)),
        )
    )


def _frames(data: bytes) -> list[_Frame]:
    found = []
    while len(data) >= 9:
        length = int.from_bytes(data[:3], "big")
        found.append(_Frame(data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length]))
        data = data[9 + length :]
    return found


def _framed(frame: _Frame) -> bytes:
    length = len(frame.payload).to_bytes(3, "big")
    return length + bytes([frame.kind, frame.flags]) + frame.stream.to_bytes(4, "big") + frame.payload
