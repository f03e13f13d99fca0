"""Mutations that keep most of a document's structure.

They also reach a decoder's later checks.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

MAX_BYTES: Final = 262_144
"""Maximum length of a mutated document. Other tests cover the effect of size alone."""
Mutate = Callable[[bytes, Random], bytes]

_INTEGERS: Final = (0, 1, -1, 2, 7, 8, 15, 16, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_NUMBERS: Final = (
    *b"0 -0 -1 1 1.0 1e0 01 .5 5. 1e400 -1e400 1e-400 NaN Infinity -Infinity 0x1 9007199254740993".split(),
    *b"9223372036854775807 9223372036854775808 18446744073709551616 1e39 0.1e-45 true null".split(),
    b"9" * 4301,
    b"1" + b"0" * 400,
    b"0." + b"3" * 1000,
    b"1e99999999999999999999",
)
_STRINGS: Final = (
    b'""',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\u0000"',
    b'"\xff\xfe"',
    b'"\xed\xa0\x80"',
    b'"\xf4\x90\x80\x80"',
    b'"\xc0\x80"',
    b'"\\"\\\\\\""',
    b'"' + b"a" * 300 + b'"',
    b'"' + b"\\u0041" * 400 + b'"',
    b'"\xf0\x9f\x98\x80"',
    b'"unclosed',
    b'"\n"',
    b'"NaN"',
    b'"1"',
    b'"true"',
)
_VALUES: Final = (b"{}", b"[]", b"null", b"true", b"false", b"[null]", b'{"a":1,"a":2}', b"[[[]]]", b"[1,]", b"/**/1")
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[-+0-9.eE]+|[{}\[\],:]|\w+|\s+|.', re.DOTALL)
_OPENS: Final = {b"{": b"}", b"[": b"]"}


def any_bytes(data: bytes, chance: Random) -> bytes:
    """Return the bytes with one to five changes.

    A change flips a bit, or replaces, removes, repeats or inserts bytes.
    """
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        _change(found, chance)
    return bytes(found[:MAX_BYTES])


def _change(data: bytearray, chance: Random) -> None:
    place = chance.randrange(len(data) + 1)
    length = chance.choice((1, 1, 2, 4, 8, 16, 64))
    match chance.randrange(7):
        case 0 if place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        case 1:
            data[place : place + length] = chance.randbytes(length)
        case 2:
            del data[place : place + length]
        case 3:
            data[place:place] = data[place : place + length] * chance.choice((1, 1, 2, 50))
        case 4:
            size = chance.choice((1, 2, 4, 8))
            number = chance.choice(_INTEGERS) % 2 ** (8 * size)
            place -= place % chance.choice((1, size))
            data[place : place + size] = number.to_bytes(size, chance.choice(("little", "big")))
        case 5:
            data[place:place] = chance.randbytes(length)
        case _:
            other = chance.randrange(len(data) + 1)
            data[place:place] = data[other : other + length]


def text(data: bytes, chance: Random) -> bytes:
    """Return a text with lines, separators and tokens moved, repeated or replaced."""
    tokens = _TOKEN.findall(data[:MAX_BYTES])
    for _ in range(chance.choice((1, 1, 2, 3))):
        if not tokens:
            break
        _change_token(tokens, chance)
    return b"".join(tokens)[:MAX_BYTES]


def _change_token(tokens: list[bytes], chance: Random) -> None:
    place = chance.randrange(len(tokens))
    match chance.randrange(8):
        case 0:
            tokens[place] = chance.choice(_NUMBERS)
        case 1:
            tokens[place] = chance.choice(_STRINGS)
        case 2:
            tokens[place] = chance.choice(
                (b",", b"\t", b";", b'"', b"\r\n", b"\n", b"\r", b"\0", b"\xef\xbb\xbf", b"'")
            )
        case 3:
            del tokens[place : place + chance.choice((1, 2, 8))]
        case 4:
            end = place + chance.choice((1, 2, 4, 20))
            tokens[place:place] = _repeated(b"".join(tokens[place:end]), chance.choice((1, 2, 40)))
        case 5:
            other = chance.randrange(len(tokens))
            tokens[place], tokens[other] = tokens[other], tokens[place]
        case 6:
            tokens[place] = any_bytes(tokens[place], chance)
        case _:
            tokens[place] = tokens[chance.randrange(len(tokens))]


def json(data: bytes, chance: Random) -> bytes:
    """Return a JSON document with values replaced, repeated, nested or removed.

    Mostly it is still JSON.
    """
    if chance.randrange(10) == 0:
        return any_bytes(data, chance)
    tokens = _TOKEN.findall(data[:MAX_BYTES])
    for _ in range(chance.choice((1, 1, 2, 3))):
        values = [place for place, token in enumerate(tokens) if token not in b"}],: \n" and not token.isspace()]
        if not values:
            break
        place = chance.choice(values)
        _change_value(tokens, place, _end(tokens, place), chance)
    return b"".join(tokens)[:MAX_BYTES]


def _change_value(tokens: list[bytes], place: int, end: int, chance: Random) -> None:
    value = tokens[place:end]
    match chance.randrange(9):
        case 0 | 1:
            tokens[place:end] = [chance.choice(_NUMBERS)]
        case 2:
            tokens[place:end] = [chance.choice(_STRINGS)]
        case 3:
            tokens[place:end] = [chance.choice(_VALUES)]
        case 4:
            tokens[place:end] = [*value, b",", *value]
        case 5:
            depth = chance.choice((1, 2, 31, 33, 600, 5000))
            key = chance.choice((b"[", b'{"a":'))
            tokens[place:end] = [key * depth, *value, _OPENS[key[:1]] * depth]
        case 6:
            tokens[place:end] = [b"[", b",".join(_repeated(b"".join(value), chance.choice((2, 300, 2000)))), b"]"]
        case 7:
            del tokens[place:end]
        case _:
            other = chance.randrange(len(tokens))
            tokens[place:end] = tokens[other : _end(tokens, other)]


def _repeated(value: bytes, times: int) -> list[bytes]:
    """Return `times` copies of a value, or fewer if the document would exceed MAX_BYTES."""
    return [value] * max(1, min(times, MAX_BYTES // max(1, len(value))))


def _end(tokens: Sequence[bytes], place: int) -> int:
    """Return the index after the value that begins at `place`."""
    depth = 0
    for at in range(place, len(tokens)):
        depth += tokens[at] in _OPENS
        depth -= tokens[at] in {b"}", b"]"}
        if depth <= 0:
            return at + 1
    return len(tokens)


def query(data: bytes, chance: Random) -> bytes:
    """Return a query string with parameters repeated, removed or escaped, or with changed values."""
    pairs = data.split(b"&")
    place = chance.randrange(len(pairs))
    name, _, value = pairs[place].partition(b"=")
    match chance.randrange(7):
        case 0:
            pairs[place] = name + b"=" + chance.choice(_NUMBERS)
        case 1:
            pairs[place] = b"%" + chance.randbytes(1).hex().encode() + pairs[place]
        case 2:
            pairs.append(chance.choice(pairs))
        case 3:
            del pairs[place]
        case 4:
            pairs[place] = (
                name + b"=" + b"".join(b"%%%02x" % each for each in chance.randbytes(chance.choice((1, 3, 50))))
            )
        case 5:
            pairs *= chance.choice((2, 200)) if len(pairs) < 200 else 1
        case _:
            pairs[place] = any_bytes(name + b"=" + value, chance)
    return b"&".join(pairs)[:MAX_BYTES]


def compressed(inner: Mutate, window_bits: int) -> Mutate:
    """Return a mutation of compressed documents.

    It changes the document by `inner`, or the compressed bytes.
    """

    def mutate(data: bytes, chance: Random) -> bytes:
        try:
            document = zlib.decompressobj(window_bits).decompress(data, MAX_BYTES)
        except zlib.error:
            return any_bytes(data, chance)
        match chance.randrange(200):
            case each if each < 30:
                return any_bytes(data, chance)
            case 40:
                document = b"".join(_repeated(document, chance.choice((2, 50, 1000))))
            case 41:
                document = chance.choice((b'"', b"[", b'{"a":', b"0", b"\\", b" ", b"\xff")) * 4_000_000
            case 42:
                return data + data
            case _:
                document = inner(document, chance)
        pack = zlib.compressobj(chance.choice((0, 1, 9)), zlib.DEFLATED, window_bits)
        return pack.compress(document[: 4 * 1024 * 1024]) + pack.flush()

    return mutate


def one_of(*mutates: Mutate) -> Mutate:
    """Return a mutation that applies one of several mutations."""

    def mutate(data: bytes, chance: Random) -> bytes:
        return chance.choice(mutates)(data, chance)

    return mutate
