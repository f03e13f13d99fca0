"""Read the options of a batch request from its query parameters and headers."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

from starlette.datastructures import Headers, QueryParams

from server.codecs.tables.csv_text import COMMA, CSV_TEXT, POINT, TextFormat
from server.codecs.tables.media_types import BY_MEDIA_TYPE, CSV, FORMS, PARQUET, TAB_SEPARATED, Form
from server.errors import InvalidArgument, UnsupportedMediaType
from server.http.request_body import FORM_ENCODED, UNSPECIFIED
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
_UNSTATED: Final = UNSPECIFIED | {"application/octet-stream"}
"""Content types that say nothing about the file's format."""


class RowOptions(NamedTuple):
    """Options for the rows: columns to pass on, and treatment of invalid rows."""

    columns: Sequence[str] | Literal["all", "none"] = ALL
    """Columns to pass on, split at each comma. `Scorer` joins the parts of a column name that contains commas."""
    on_error: OnError = "fail"
    """Treatment of a row that can't be scored."""


@dataclass(slots=True)
class BatchOptions:
    """Options of one batch request."""

    model: Model
    wanted: RowOptions
    form: Form | None = None
    """Format of the body; None: detect it."""
    encoding: str = "identity"
    """Compression of the body."""
    answer_form: Form | None = None
    """Format of the response; None: the format of the body."""
    answer_encoding: str = "identity"
    delimiter: str | None = None
    answer_delimiter: str | None = None
    summary: bool = False
    """Whether the last record of the response holds the counts."""
    text: TextFormat = CSV_TEXT
    """Rules for nulls and numbers in CSV."""
    is_form_encoded: bool = False
    """Whether the content type is application/x-www-form-urlencoded, the default of `curl -d`."""


def asked_for(model: Model, query: QueryParams, headers: Headers) -> BatchOptions:
    """Return the options of a request.

    Raises InvalidArgument, naming the parameter, and UnsupportedMediaType.
    """
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
    """Return the row options from the text of two parameters.

    Raises InvalidArgument, naming the parameter.
    """
    if on_error not in ON_ERROR:
        raise InvalidArgument(
            f"on_error: expected one of {', '.join(ON_ERROR)}; got {quoted(on_error)}", field="on_error"
        )
    names: Any = columns if columns in {ALL, NONE} else columns.split(",")
    return RowOptions(names, on_error)  # type: ignore[arg-type] # one of them, as was checked


def delimiter_of(given: str | None) -> str | None:
    """Return the delimiter that a parameter states: a character or its name. Raises InvalidArgument."""
    if given is None:
        return None
    delimiter = _DELIMITERS.get(given, given)
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        words = f"expected one ASCII character, or one of {', '.join(_DELIMITERS)}; got {quoted(given)}"
        raise InvalidArgument(f"delimiter: {words}", field="delimiter")
    return delimiter


def text_format_of(null: str | None, decimal: str | None) -> TextFormat:
    """Return the rules for nulls and numbers in CSV.

    `null` is a comma-separated list of spellings that replaces the default list. `decimal` is a point or a comma.
    Raises InvalidArgument, naming the parameter.
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
    """Return the format and the delimiter that Content-Type states for the body; None if unstated."""
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
    """Return the response's format and delimiter: the preferred ones of Accept; None: any."""
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
    """Return the response's compression by Accept-Encoding: zstd or gzip, else identity.

    zstd is chosen if both have the same weight.
    """
    weights = dict(_weighed(",".join(headers.getlist("accept-encoding"))))
    best = max(("zstd", "gzip"), key=lambda name: weights.get(name, 0.0))
    return best if weights.get(best, 0.0) > 0 else "identity"


def _weighed(text: str) -> list[tuple[str, float]]:
    """Return the values of an Accept header and their weights, in the header's order.

    An invalid weight counts as 1.
    """
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
