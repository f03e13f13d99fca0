"""Replace values that differ between two runs of one server: times, durations, ports, process ids."""

import base64
import re
from collections.abc import Sequence
from typing import Final

from tests.recorded.exchange import Json

_BY_HEADER: Final = {
    "date": re.compile(r".+"),
    "server-timing": re.compile(r"(?<=dur=)[\d.]+"),
    "x-request-id": re.compile(r"^[0-9a-f]{32}$"),  # an id that the server made
}
"""The part of a header's value to replace, by header name."""
_STATISTICS: Final = re.compile(r'("(?:ns|last_inference|lastInference)": ?"?)\d+')
_MAPS: Final = (
    (re.compile(rb"\x18.lifeboat\.rows-\w+\x18\x14\d{20}\0"), b""),
    (re.compile(rb"\n[\0-\x7f]\n[\0-\x7f][\w.]*\x12\x02\x08\x01"), b""),
    (re.compile(rb'"[\w.]*": \{"status": "SERVING"\}'), b", "),
)
"""Map entries without a fixed order, with their separators: Parquet metadata, Health.List in both codecs."""
_LOG: Final = (
    re.compile(r'("time":")[^"]+'),
    re.compile(r"^()\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", re.MULTILINE),
    re.compile(r"(server process \[)\d+"),
    re.compile(r"(Uvicorn running on http://127\.0\.0\.1:)\d+"),
    re.compile(r'(_ms(?:":|=))[\d.]+'),
    re.compile(r'(request_id(?:":"|=))[0-9a-f]{32}'),
    re.compile(r"( in )[\d.]+(?= m?s\b)"),
    re.compile(r"(batch failed .*: )\d+ rows read, \d+ scored"),  # the progress at the fault varies
    re.compile(r'( 413\b.*request_bytes(?:":|=))\d+'),  # the number of bytes received by then varies
    re.compile(r'(GET /metrics .*response_bytes(?:":|=))\d+'),
)
"""In each log line, the text after the first group is replaced."""
_VARIES: Final = "<varies>"


def headers(pairs: Sequence[tuple[str, str]], target: str = "") -> list[Json]:
    """Return headers or trailers of a response to `target` in order, with varying values replaced."""
    has_counts = _is_metrics(target) or _is_statistics(target)
    return [
        [name, _VARIES if has_counts and name.lower() == "content-length" else _header(name, value)]
        for name, value in pairs
    ]


def _header(name: str, value: str) -> str:
    pattern = _BY_HEADER.get(name.lower())
    return value if pattern is None else pattern.sub(_VARIES, value, count=1)


def _is_metrics(target: str) -> bool:
    return target.partition("?")[0] == "/metrics"


def _is_statistics(target: str) -> bool:
    return target.endswith("/stats") or "/ModelStatistics" in target


def body(content: bytes, target: str) -> dict[str, Json]:
    """Return the body of a response to `target` as text, or else as base64."""
    for entry, separator in _MAPS:
        content = _in_order(content, entry, separator)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}
    if _is_metrics(target):
        text = _without_values(text)
    elif _is_statistics(target):
        text = _STATISTICS.sub(rf"\1{_VARIES}", text)
    return {"text": text}


def _in_order(content: bytes, entry: re.Pattern[bytes], separator: bytes) -> bytes:
    """Return content with consecutive map entries sorted."""
    found = entry.findall(content)
    given = separator.join(found)
    return content.replace(given, separator.join(sorted(found))) if found else content


def outer_lines(content: bytes) -> bytes:
    """Return the first and the last line of an aborted response."""
    lines = content.splitlines(keepends=True)
    return b"".join([*lines[:1], *lines[-1:]])


def _without_values(text: str) -> str:
    """Return the names, help texts, types and labels of metrics."""
    return "\n".join(line if line.startswith("#") else line.rpartition(" ")[0] for line in text.splitlines())


def log(text: str, folders: Sequence[str] = ()) -> str:
    """Return log lines without times, durations, and paths of temporary folders."""
    for folder in folders:
        text = text.replace(folder, "<folder>")
    for pattern in _LOG:
        text = pattern.sub(rf"\1{_VARIES}", text)
    return text
