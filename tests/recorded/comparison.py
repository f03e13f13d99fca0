"""Compare two recordings: each difference has its case, place and both values."""

from collections.abc import Iterator

from tests.recorded.exchange import Json
from tests.recorded.recording import Recording

_SHOWN = 160
"""Maximum characters that are shown of a value."""
_MISSING = "(missing)"


def differences(old: Recording, new: Recording) -> Iterator[str]:
    """Yield each difference as text, in one or more lines per case."""
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield f"{name}: only in the old recording"
        elif name not in old:
            yield f"{name}: only in the new recording"
        else:
            for place, before, after in _differences(old[name]["response"], new[name]["response"], ""):
                yield f"{name}: {place or '/'}\n  old: {_shown(before, after)}\n  new: {_shown(after, before)}"


def _differences(old: Json, new: Json, place: str) -> Iterator[tuple[str, Json, Json]]:
    """Yield each place where two values differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _differences(old.get(key, _MISSING), new.get(key, _MISSING), f"{place}/{key}")
    elif isinstance(old, list) and isinstance(new, list):
        for at in range(max(len(old), len(new))):
            before = old[at] if at < len(old) else _MISSING
            after = new[at] if at < len(new) else _MISSING
            yield from _differences(before, after, f"{place}/{at}")
    elif old != new or type(old) is not type(new):
        yield place, old, new


def _shown(value: Json, other: Json) -> str:
    """Return a value as text.

    A long text is cut to the part around its first difference.
    """
    if not (isinstance(value, str) and isinstance(other, str)):
        return repr(value)[:_SHOWN]
    pairs = zip(value, other, strict=False)
    first = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(value), len(other)))
    start = max(0, first - _SHOWN // 4)
    return ("..." if start else "") + repr(value[start : start + _SHOWN])
