"""What a request for a scored file asks for: its parameters and headers, read once."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

from starlette.datastructures import Headers, QueryParams

from server.errors import InvalidArgument, UnsupportedMediaType
from server.model import Model
from server.requests import UNSTATED
from server.tables.forms import BY_MEDIA_TYPE, CSV, FORMS, PARQUET, TAB_SEPARATED, Form

OnError = Literal["fail", "null", "skip"]
ON_ERROR: Final = get_args(OnError)
ALL: Final = "all"
NONE: Final = "none"
_PARAMETERS: Final = ("columns", "on_error", "delimiter", "summary")
_DELIMITERS: Final = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_UNSTATED: Final = UNSTATED | {"application/octet-stream"}
"""What a client says that knows nothing of the file that it sends."""


class Wanted(NamedTuple):
    """What a caller asks for."""

    columns: Sequence[str] | Literal["all", "none"] = ALL
    """The columns to pass on."""
    on_error: OnError = "fail"
    """What becomes of a row that can't be scored."""


@dataclass(slots=True)
class Asked:
    """What a request asks for."""

    model: Model
    wanted: Wanted
    form: Form | None = None
    """The body's form, None where it is to be found out."""
    encoding: str = "identity"
    """How the body is packed."""
    answer_form: Form | None = None
    """The answer's form, None for the body's own."""
    answer_encoding: str = "identity"
    delimiter: str | None = None
    answer_delimiter: str | None = None
    summary: bool = False
    """Whether a last record is to tell the counts."""


def asked_for(model: Model, query: QueryParams, headers: Headers) -> Asked:
    """Return what a request asks for. Raises InvalidArgument, naming the parameter, and UnsupportedMediaType."""
    for name, value in query.multi_items():
        if name not in _PARAMETERS:
            raise InvalidArgument(f"{name[:40]}: no such parameter; expected {', '.join(_PARAMETERS)}", field=name[:40])
        if len(query.getlist(name)) > 1:
            raise InvalidArgument(f"{name}: expected it once; got {value[:40]!r} again", field=name)
    summary = query.get("summary", "none")
    if summary not in {"none", "last"}:
        raise InvalidArgument(f"summary: expected none or last; got {summary[:40]!r}", field="summary")
    form, delimiter = _stated(headers)
    answer_form, answer_delimiter = _accepted(headers)
    answer_encoding = "identity" if (answer_form or form) is PARQUET else _accepted_encoding(headers)
    return Asked(
        model=model,
        wanted=wanted_of(query.get("columns", "all"), query.get("on_error", "fail")),
        form=form,
        encoding=_encoding(headers),
        answer_form=answer_form,
        answer_encoding=answer_encoding,
        delimiter=delimiter_of(query.get("delimiter")) or delimiter,
        answer_delimiter=answer_delimiter,
        summary=summary == "last",
    )


def wanted_of(columns: str, on_error: str) -> Wanted:
    """Return what is wanted of the rows, in words. Raises InvalidArgument, naming the parameter."""
    if on_error not in ON_ERROR:
        raise InvalidArgument(
            f"on_error: expected one of {', '.join(ON_ERROR)}; got {on_error[:40]!r}", field="on_error"
        )
    names: Any = columns if columns in {ALL, NONE} else columns.split(",")
    if len(set(names)) < len(names) and names is not columns:
        raise InvalidArgument("columns: expected each column once", field="columns")
    return Wanted(names, on_error)  # type: ignore[arg-type] # one of them, as was checked


def delimiter_of(given: str | None) -> str | None:
    """Return the character that is meant. Raises InvalidArgument."""
    if given is None:
        return None
    delimiter = _DELIMITERS.get(given, given)
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        words = f"expected one ASCII character, or one of {', '.join(_DELIMITERS)}; got {given[:40]!r}"
        raise InvalidArgument(f"delimiter: {words}", field="delimiter")
    return delimiter


def _stated(headers: Headers) -> tuple[Form | None, str | None]:
    """Return the form and delimiter that the body is said to have."""
    stated = headers.get("content-type", "").partition(";")[0].strip().lower()
    if stated in _UNSTATED:
        return None, None
    if stated not in BY_MEDIA_TYPE:
        expected = ", ".join(form.media_type for form in FORMS)
        raise UnsupportedMediaType(
            f"content-type: expected one of {expected}; got {stated[:64]!r}", field="content-type"
        )
    return BY_MEDIA_TYPE[stated], "\t" if stated == TAB_SEPARATED else None


def _encoding(headers: Headers) -> str:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", "x-gzip", "zstd"}:
        raise UnsupportedMediaType(
            f"content-encoding: expected gzip or zstd; got {encoding[:64]!r}", field="content-encoding"
        )
    return encoding.removeprefix("x-")


def _accepted(headers: Headers) -> tuple[Form | None, str | None]:
    """Return the form and delimiter that the answer is to have: the best that is accepted; None for any."""
    given = ",".join(headers.getlist("accept"))
    if not given.strip():
        return None, None
    ranges = sorted(_weighed(given), key=lambda each: -each[1])
    for name, weight in ranges:
        if weight <= 0:
            continue
        if name == "*/*":
            return None, None
        if name in BY_MEDIA_TYPE:
            return BY_MEDIA_TYPE[name], "\t" if name == TAB_SEPARATED else None
        if name in {"text/*", "application/*"}:
            return (CSV if name == "text/*" else None), None
    expected = ", ".join(form.media_type for form in FORMS)
    raise UnsupportedMediaType(f"accept: expected one of {expected}; got {given[:64]!r}", field="accept")


def _accepted_encoding(headers: Headers) -> str:
    """Return how the answer is to be packed: by zstd where that is as welcome as gzip, not at all where neither is."""
    weights = dict(_weighed(",".join(headers.getlist("accept-encoding"))))
    best = max(("zstd", "gzip"), key=lambda name: weights.get(name, 0.0))
    return best if weights.get(best, 0.0) > 0 else "identity"


def _weighed(text: str) -> list[tuple[str, float]]:
    """Return what a header accepts, and how much, in its order. What can't be read as a weight is one."""
    found = []
    for part in text.split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                with suppress(ValueError):
                    weight = float(parameter[2:])
        found.append((name, weight))
    return found
