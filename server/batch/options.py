"""Read the options of a batch request from its parameters and headers."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

from starlette.datastructures import Headers, QueryParams

from server.codecs.tables.csv_text import COMMA, CSV_TEXT, POINT, TextFormat
from server.codecs.tables.media_types import BY_MEDIA_TYPE, CSV, FORMS, PARQUET, TAB_SEPARATED, Form
from server.errors import InvalidArgument, UnsupportedMediaType
from server.http.request_body import FORM_ENCODED, UNSTATED
from server.models.quoting import field_name, quoted, quoted_name
from server.models.session import Model

OnError = Literal["fail", "null", "skip"]
ON_ERROR: Final = get_args(OnError)
ALL: Final = "all"
NONE: Final = "none"
_PARAMETERS: Final = ("columns", "on_error", "delimiter", "decimal", "null", "summary")
_DECIMALS: Final = {"point": POINT, "comma": COMMA}
_MAX_HINT: Final = 120
_DELIMITERS: Final = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_UNSTATED: Final = UNSTATED | {"application/octet-stream"}
"""What a client says that knows nothing of the file that it sends."""


class RowOptions(NamedTuple):
    """What a caller asks for."""

    columns: Sequence[str] | Literal["all", "none"] = ALL
    """The columns to pass on, cut at each comma: a name that has one is put together again by the table's own names."""
    on_error: OnError = "fail"
    """What becomes of a row that can't be scored."""


@dataclass(slots=True)
class BatchOptions:
    """What a request asks for."""

    model: Model
    wanted: RowOptions
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
    text: TextFormat = CSV_TEXT
    """How CSV writes nulls and numbers."""
    is_form_encoded: bool = False
    """Whether the body came as application/x-www-form-urlencoded, which `curl -d` states unasked."""


def asked_for(model: Model, query: QueryParams, headers: Headers) -> BatchOptions:
    """Return what a request asks for. Raises InvalidArgument, naming the parameter, and UnsupportedMediaType."""
    for name, value in query.multi_items():
        if name not in _PARAMETERS:
            words = f"no such parameter; expected {', '.join(_PARAMETERS)}"
            raise InvalidArgument(f"{quoted_name(name)}: {words}", field=field_name(name))
        if len(query.getlist(name)) > 1:
            raise InvalidArgument(f"{name}: expected it once; got {quoted(value)} again", field=name)
    summary = query.get("summary", "none")
    if summary not in {"none", "last"}:
        raise InvalidArgument(f"summary: expected none or last; got {quoted(summary)}", field="summary")
    form, delimiter = _stated(headers)
    answer_form, answer_delimiter = _accepted(headers)
    answer_encoding = "identity" if (answer_form or form) is PARQUET else _accepted_encoding(headers)
    return BatchOptions(
        model=model,
        wanted=wanted_of(query.get("columns", "all"), query.get("on_error", "fail")),
        form=form,
        encoding=_encoding(headers),
        answer_form=answer_form,
        answer_encoding=answer_encoding,
        delimiter=delimiter_of(query.get("delimiter")) or delimiter,
        answer_delimiter=answer_delimiter,
        summary=summary == "last",
        text=text_format_of(query.get("null"), query.get("decimal")),
        is_form_encoded=_media_type(headers) == FORM_ENCODED,
    )


def wanted_of(columns: str, on_error: str) -> RowOptions:
    """Return what is wanted of the rows, in words. Raises InvalidArgument, naming the parameter."""
    if on_error not in ON_ERROR:
        raise InvalidArgument(
            f"on_error: expected one of {', '.join(ON_ERROR)}; got {quoted(on_error)}", field="on_error"
        )
    names: Any = columns if columns in {ALL, NONE} else columns.split(",")
    return RowOptions(names, on_error)  # type: ignore[arg-type] # one of them, as was checked


def delimiter_of(given: str | None) -> str | None:
    """Return the character that is meant. Raises InvalidArgument."""
    if given is None:
        return None
    delimiter = _DELIMITERS.get(given, given)
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        words = f"expected one ASCII character, or one of {', '.join(_DELIMITERS)}; got {quoted(given)}"
        raise InvalidArgument(f"delimiter: {words}", field="delimiter")
    return delimiter


def text_format_of(null: str | None, decimal: str | None) -> TextFormat:
    """Return how CSV writes nulls and numbers. Raises InvalidArgument, naming the parameter.

    `null` is a list of spellings with commas between them, which replaces the usual ones; `decimal` a point or a comma.
    """
    text = CSV_TEXT
    if null is not None:
        stated = frozenset(null.split(",")) - {""}
        shown = [json.dumps(each, ensure_ascii=False) for each in sorted(stated)]
        hint = " or ".join([CSV_TEXT.null_hint, *shown])
        text = text._replace(nulls=frozenset(), stated_nulls=stated, null_hint=hint[:_MAX_HINT])
    if decimal is not None:
        separator = _DECIMALS.get(decimal, decimal)
        if separator not in _DECIMALS.values():
            words = f"expected a point or a comma, or one of {', '.join(_DECIMALS)}; got {quoted(decimal)}"
            raise InvalidArgument(f"decimal: {words}", field="decimal")
        text = text._replace(decimal=separator)
    return text


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _stated(headers: Headers) -> tuple[Form | None, str | None]:
    """Return the form and delimiter that the body is said to have."""
    stated = _media_type(headers)
    if stated in _UNSTATED:
        return None, None
    if stated not in BY_MEDIA_TYPE:
        expected = ", ".join(form.media_type for form in FORMS)
        raise UnsupportedMediaType(
            f"content-type: expected one of {expected}; got {quoted(stated)}", field="content-type"
        )
    return BY_MEDIA_TYPE[stated], "\t" if stated == TAB_SEPARATED else None


def _encoding(headers: Headers) -> str:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", "x-gzip", "zstd"}:
        raise UnsupportedMediaType(
            f"content-encoding: expected gzip or zstd; got {quoted(encoding)}", field="content-encoding"
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
    raise UnsupportedMediaType(f"accept: expected one of {expected}; got {quoted(given)}", field="accept")


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
