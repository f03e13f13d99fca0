"""Mutations of raw HTTP/1.1 bytes: heads, framing, chunks, trailers, pipelines."""

from random import Random
from typing import Final

from tests.fuzz.mutation import MAX_BYTES, any_bytes

_HEADERS: Final = (
    b"content-length: 5",
    b"content-length: 0",
    b"content-length: +5",
    b"content-length: 5, 5",
    b"content-length: " + b"9" * 4301,
    b"content-length: 18446744073709551617",
    b"transfer-encoding: chunked",
    b"transfer-encoding: gzip, chunked",
    b"transfer-encoding: chunked, identity",
    b"transfer-encoding:\tchunked",
    b"te: trailers",
    b"trailer: x-request-timeout-ms",
    b"connection: close",
    b"connection: keep-alive, upgrade",
    b"connection: content-length",
    b"upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQAAP__",
    b"upgrade: websocket\r\nconnection: upgrade",
    b"upgrade: foo",
    b"expect: 100-continue",
    b"expect: 200-ok",
    b"host: y",
    b"host:",
    b"host : x",
    b" folded: line",
    b"content-type: application/json; charset=utf-8",
    b"content-type: text/csv",
    b"content-encoding: gzip",
    b"content-encoding: gzip, gzip",
    b"content-encoding: br",
    b"accept-encoding: gzip;q=0, *",
    b"x-request-timeout-ms: 0",
    b"x-request-timeout-ms: 9999999999999999999999",
    b"connect-timeout-ms: 1",
    b"grpc-timeout: 1n",
    b"inference-header-content-length: 2",
    b"inference-header-content-length: " + b"9" * 4301,
    b"authorization: Bearer x",
    b"traceparent: 00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
    b"x-request-id: " + b"i" * 300,
    b"if-none-match: *",
    b"range: bytes=0-1",
    b"x: " + b"y" * 70_000,
    b"x\0y: z",
    b"x: \xff\xfe",
    b"",
)
_CHUNKS: Final = (
    b"0\r\n\r\n",
    b"0\r\nx-request-timeout-ms: 0\r\ncontent-encoding: gzip\r\n\r\n",
    b"0\r\n" + b"t: v\r\n" * 2000 + b"\r\n",
    b"5\r\nhello\r\n",
    b"00000000000000005\r\nhello\r\n",
    b"FFFFFFFFFFFFFFFF\r\n",
    b"-1\r\n",
    b"0x5\r\nhello\r\n",
    b"5;a=b\r\nhello\r\n",
    b"5;" + b"e" * 70_000 + b"\r\nhello\r\n",
    b"5 \r\nhello\r\n",
    b"5\nhello\n",
)
_REQUEST_LINES: Final = (
    b"POST /api/predict HTTP/1.1",
    b"POST /api/predict HTTP/1.0",
    b"POST /api/predict HTTP/2.0",
    b"POST http://x/api/predict HTTP/1.1",
    b"POST /api/predict?x#y HTTP/1.1",
    b"POST  /api/predict HTTP/1.1",
    b"GET / HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT x:1 HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"get / http/1.1",
    b"GET /\xff HTTP/1.1",
    b"GET /%zz HTTP/1.1",
    b"POST //api/predict HTTP/1.1",
)


def head(data: bytes, chance: Random) -> bytes:
    """Return the requests with one line of a head changed, repeated, removed or inserted."""
    before, mark, rest = data.partition(b"\r\n\r\n")
    lines = before.split(b"\r\n")
    place = chance.randrange(len(lines))
    match chance.randrange(7):
        case 0 | 1 | 2:
            lines.insert(max(1, place), chance.choice(_HEADERS))
        case 3:
            lines[0] = chance.choice(_REQUEST_LINES)
        case 4:
            del lines[place]
        case 5:
            lines[place] = any_bytes(lines[place], chance)
        case _:
            lines.append(lines[place])
    return (chance.choice((b"\r\n",) * 9 + (b"\n",)).join(lines) + mark + rest)[:MAX_BYTES]


def chunked(data: bytes, chance: Random) -> bytes:
    """Return a request with a chunked body; the chunks may be invalid."""
    before, _, body = data.partition(b"\r\n\r\n")
    lines = [line for line in before.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    pieces = []
    while body:
        size = chance.choice((1, 7, 64, len(body)))
        piece, body = body[:size], body[size:]
        pieces.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        if len(pieces) > 20:
            body = b""
    if chance.randrange(2):
        pieces.insert(chance.randrange(len(pieces) + 1), chance.choice(_CHUNKS))
    whole = b"".join(pieces) + chance.choice(_CHUNKS[:3])
    return b"\r\n".join([*lines, b"transfer-encoding: chunked"]) + b"\r\n\r\n" + whole


def pipelined(data: bytes, chance: Random) -> bytes:
    """Return pipelined requests for one connection."""
    return (data * chance.choice((2, 2, 3, 20)))[:MAX_BYTES]


def raw(data: bytes, chance: Random) -> bytes:
    """Return a connection's bytes with one to three mutations."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        data = chance.choice((head, head, head, chunked, pipelined, any_bytes))(data, chance)
    return data


def headers(data: bytes, chance: Random) -> bytes:
    """Return header lines with one line changed, repeated or removed; no change ends the head."""
    lines = data.split(b"\r\n")
    place = chance.randrange(len(lines))
    match chance.randrange(4):
        case 0 | 1:
            lines[place] = any_bytes(lines[place], chance)
        case 2:
            del lines[place]
        case _:
            lines.insert(place, lines[chance.randrange(len(lines))])
    return b"\r\n".join(line.replace(b"\r", b"").replace(b"\n", b"") for line in lines if line)
