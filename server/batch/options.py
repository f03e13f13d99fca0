"""Read the options of a batch request from its query parameters and headers."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

from starlette.datastructures import Headers, QueryParams

from server.codecs.tables.csv_text import COMMA, CSV_TEXT, POINT, TextFormat
from server.codecs.tables.media_types import BY_MEDIA_TYPE, CSV, FILE_FORMATS, PARQUET, TAB_SEPARATED, FileFormat
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
_UNSTATED_TYPES: Final = UNSPECIFIED | {"application/octet-stream"}
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
    row_options: RowOptions
    file_format: FileFormat | None = None
    """Format of the body; None: detect it."""
    encoding: str = "identity"
    """Compression of the body."""
    response_format: FileFormat | None = None
    """Format of the response; None: the format of the body."""
    response_encoding: str = "identity"
    delimiter: str | None = None
    response_delimiter: str | None = None
    summary: bool = False
    """Whether the last record of the response holds the counts."""
    text: TextFormat = CSV_TEXT
    """Rules for nulls and numbers in CSV."""
    is_form_encoded: bool = False
    """Whether the content type is application/x-www-form-urlencoded, the default of `curl -d`."""


def parse_options(model: Model, query: QueryParams, headers: Headers) -> BatchOptions:
    """Return the options of a request.

    Raises InvalidArgument, naming the parameter, and UnsupportedMediaType.
    """
    for name, value in query.multi_items():
        if name not in _PARAMETERS:
            message = f"no such parameter; expected {', '.join(_PARAMETERS)}"
            raise InvalidArgument(f"{quoted_name(name)}: {message}", field=field_name(name))
        if len(query.getlist(name)) > 1:
            raise InvalidArgument(f"{name}: expected it once; got {quoted(value)} again", field=name)
    summary = query.get("summary", "none")
    if summary not in {"none", "last"}:
        raise InvalidArgument(f"summary: expected none or last; got {quoted(summary)}", field="summary")
    file_format, delimiter = _body_format(headers)
    response_format, response_delimiter = _response_format(headers)
    response_encoding = "identity" if (response_format or file_format) is PARQUET else _response_encoding(headers)
    return BatchOptions(
        model=model,
        row_options=parse_row_options(query.get("columns", "all"), query.get("on_error", "fail")),
        file_format=file_format,
        encoding=_encoding(headers),
        response_format=response_format,
        response_encoding=response_encoding,
        delimiter=parse_delimiter(query.get("delimiter")) or delimiter,
        response_delimiter=response_delimiter,
        summary=summary == "last",
        text=parse_text_format(query.get("null"), query.get("decimal")),
        is_form_encoded=_media_type(headers) == FORM_ENCODED,
    )


def parse_row_options(columns: str, on_error: str) -> RowOptions:
    """Return the row options from the text of two parameters.

    Raises InvalidArgument, naming the parameter.
    """
    if on_error not in ON_ERROR:
        raise InvalidArgument(
            f"on_error: expected one of {', '.join(ON_ERROR)}; got {quoted(on_error)}", field="on_error"
        )
    names: Any = columns if columns in {ALL, NONE} else columns.split(",")
    return RowOptions(names, on_error)  # type: ignore[arg-type] # one of them, as was checked


def parse_delimiter(text: str | None) -> str | None:
    """Return the delimiter that a parameter states: a character or its name. Raises InvalidArgument."""
    if text is None:
        return None
    delimiter = _DELIMITERS.get(text, text)
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        message = f"expected one ASCII character, or one of {', '.join(_DELIMITERS)}; got {quoted(text)}"
        raise InvalidArgument(f"delimiter: {message}", field="delimiter")
    return delimiter


def parse_text_format(null: str | None, decimal: str | None) -> TextFormat:
    """Return the rules for nulls and numbers in CSV.

    `null` is a comma-separated list of spellings that replaces the default list. `decimal` is a point or a comma.
    Raises InvalidArgument, naming the parameter.
    """
    text = CSV_TEXT
    if null is not None:
        nulls = frozenset(null.split(",")) - {""}
        quoted_nulls = [json.dumps(each, ensure_ascii=False) for each in sorted(nulls)]
        hint = " or ".join([CSV_TEXT.null_hint, *quoted_nulls])
        text = text._replace(nulls=frozenset(), stated_nulls=nulls, null_hint=hint[:_MAX_HINT])
    if decimal is not None:
        separator = _DECIMALS.get(decimal, decimal)
        if separator not in _DECIMALS.values():
            message = f"expected a point or a comma, or one of {', '.join(_DECIMALS)}; got {quoted(decimal)}"
            raise InvalidArgument(f"decimal: {message}", field="decimal")
        text = text._replace(decimal=separator)
    return text


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _body_format(headers: Headers) -> tuple[FileFormat | None, str | None]:
    """Return the format and the delimiter that Content-Type states for the body; None if unstated."""
    media_type = _media_type(headers)
    if media_type in _UNSTATED_TYPES:
        return None, None
    if media_type not in BY_MEDIA_TYPE:
        expected = ", ".join(file_format.media_type for file_format in FILE_FORMATS)
        raise UnsupportedMediaType(
            f"content-type: expected one of {expected}; got {quoted(media_type)}", field="content-type"
        )
    return BY_MEDIA_TYPE[media_type], "\t" if media_type == TAB_SEPARATED else None


def _encoding(headers: Headers) -> str:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", "x-gzip", "zstd"}:
        raise UnsupportedMediaType(
            f"content-encoding: expected gzip or zstd; got {quoted(encoding)}", field="content-encoding"
        )
    return encoding.removeprefix("x-")


def _response_format(headers: Headers) -> tuple[FileFormat | None, str | None]:
    """Return the response's format and delimiter: the preferred ones of Accept; None: any."""
    text = ",".join(headers.getlist("accept"))
    if not text.strip():
        return None, None
    ranges = sorted(_parse_weights(text), key=lambda each: -each[1])
    for name, weight in ranges:
        if weight <= 0:
            continue
        if name == "*/*":
            return None, None
        if name in BY_MEDIA_TYPE:
            return BY_MEDIA_TYPE[name], "\t" if name == TAB_SEPARATED else None
        if name in {"text/*", "application/*"}:
            return (CSV if name == "text/*" else None), None
    expected = ", ".join(file_format.media_type for file_format in FILE_FORMATS)
    raise UnsupportedMediaType(f"accept: expected one of {expected}; got {quoted(text)}", field="accept")


def _response_encoding(headers: Headers) -> str:
    """Return the response's compression by Accept-Encoding: zstd or gzip, else identity.

    zstd is chosen if both have the same weight.
    """
    weights = dict(_parse_weights(",".join(headers.getlist("accept-encoding"))))
    best = max(("zstd", "gzip"), key=lambda name: weights.get(name, 0.0))
    return best if weights.get(best, 0.0) > 0 else "identity"


def _parse_weights(text: str) -> list[tuple[str, float]]:
    """Return the values of an Accept header and their weights, in the header's order.

    An invalid weight counts as 1.
    """
    weights = []
    for part in text.split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                with suppress(ValueError):
                    weight = float(parameter[2:])
        weights.append((name, weight))
    return weights
