"""Decode JSON bytes to feature records, and check them against the signature.

Each model has its own msgspec types, made once from its signature. So one pass in C decodes and checks a body. Only a
body that fails is parsed again, to report the wrong field and what was expected.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from server.codecs import json_errors, repeated_names
from server.codecs.json_shape import LARGE_BYTES, MaxCounts, check_counts, check_depth
from server.codecs.json_types import MALFORMED, json_type, lenient_type, with_integers
from server.codecs.repeated_names import RepeatedNames
from server.errors import InvalidArgument, PayloadTooLarge
from server.models.manifest import Scalar
from server.models.quoting import field_name, quoted_name, quoted_names, spelling_hint
from server.models.signature import Column, Signature

RECORDS: Final = repeated_names.RECORDS
_LOCATION: Final = re.compile(
    r"^(?P<what>.*?)(?: - at `\$(?:\.records\[(?P<row>\d+)\])?(?:\.(?P<name>.*))?`)?$", re.DOTALL
)
_QUOTED: Final = re.compile(r"`(?P<name>.*)`", re.DOTALL)
_UNKNOWN: Final = object()
"""Marks a value that can't be shown."""
_NO_OBJECT: Final = 'body: expected a JSON object, one record or {"records": [...]}'

_astuple = msgspec.structs.astuple
_Decoders = tuple[Callable[[bytes], Any], Callable[[bytes], Any]]
"""Decoders of one record and of a list of records."""
_Decoded = tuple[list[tuple[Scalar | None, ...]], bool]


class _AbsenceRecorder:
    """Recorder of absent nullable features: msgspec calls it for the value, null."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = object()
        """A new object for each absence. Another thread may replace it, but never by an earlier object."""

    def __call__(self) -> None:
        self.last = object()


def _null() -> None:
    """Return the value of an absent nullable feature."""


def record_type(
    signature: Signature,
    type_of: Callable[[Column], Any] = json_type,
    *,
    allow_extra_fields: bool = False,
    absent: Callable[[], None] = _null,
) -> Any:  # noqa: ANN401 # the type is made at run time
    """Return the msgspec type of one record; `type_of` gives each feature's type.

    `allow_extra_fields`: fields that are no features are ignored. `absent` is called for each nullable feature that a
    record lacks.
    """
    names = {f"f{i}": column.feature.name for i, column in enumerate(signature.columns)}
    fields = [
        (field, type_of(column), msgspec.field(default_factory=absent))
        if column.feature.nullable
        else (field, type_of(column))
        for field, column in zip(names, signature.columns, strict=True)
    ]
    return msgspec.defstruct(
        "Record",
        fields,
        rename=names,
        kw_only=True,
        forbid_unknown_fields=not allow_extra_fields,
        frozen=True,
        gc=False,
    )


class RecordDecoder:
    """Decoder of prediction request bodies: one record, or `{"records": [...]}`."""

    def __init__(
        self, signature: Signature, max_rows: int, max_string_bytes: int = 65_536, max_json_depth: int = 32
    ) -> None:
        """Make the decoders of this signature; more records, longer strings and deeper bodies are rejected."""
        self.signature = signature
        self.max_rows = max_rows
        self.max_string_bytes = max_string_bytes
        self.max_json_depth = max_json_depth
        self._max_counts = _max_counts(signature, max_rows)
        self._absences = _AbsenceRecorder()
        self._decode_record, self._decode_batch = self._strict = self._decoders(json_type)
        self._repeated = RepeatedNames(signature)
        self._number = len(signature.columns)
        self._lenient = self._decoders(lenient_type)
        self._kinds = [list[json_type(column)] for column in signature.columns]  # type: ignore[misc] # run-time types

    def _decoders(self, type_of: Callable[[Column], Any]) -> _Decoders:
        """Return the decoder of one record, and the decoder of a list of records."""
        record: Any = record_type(self.signature, type_of, absent=self._absences)
        batch = msgspec.defstruct("Records", [(RECORDS, list[record])], forbid_unknown_fields=True)
        return msgspec.json.Decoder(record).decode, msgspec.json.Decoder(batch).decode

    def decode(self, body: bytes) -> _Decoded:
        """Return each feature's values, in signature order, and whether the body was a list.

        Raises InvalidArgument, naming the field and what was expected; PayloadTooLarge for too many records.
        """
        if len(body) > LARGE_BYTES:
            check_counts(body, self._max_counts)
        try:
            columns, is_list = self._columns(body, self._strict)
        except MALFORMED as error:
            if (without_bom := json_errors.without_bom(body)) is not None:
                return self.decode(without_bom)
            whole_columns = self._whole_columns(body) if _may_be_whole(error) else None
            if whole_columns is None:
                raise self._diagnose(body, error) from None
            columns, is_list = whole_columns
        self.signature.check_strings(columns, self.max_string_bytes)
        return columns, is_list

    def decode_valid(self, body: bytes, *, is_list: bool) -> list[tuple[Scalar | None, ...]] | None:
        """Return the values of a fully valid body, else None.

        `is_list` states whether the body is a list of records. Raises PayloadTooLarge if the body has more objects than
        a valid one.
        """
        if len(body) > LARGE_BYTES:
            check_counts(body, self._max_counts)
        try:
            if not is_list:
                absence = self._absences.last
                values = _astuple(self._decode_record(body))
                if body.count(b":") != self._number or self._absences.last is not absence:
                    self._check_once(self._repeated.of_record(body, values))
                columns: list[tuple[Scalar | None, ...]] = list(zip(values))
            else:
                (records,) = _astuple(self._decode_batch(body))
                if not 1 <= len(records) <= self.max_rows:
                    return None
                columns = list(zip(*map(_astuple, records), strict=True))
                self._check_once(self._repeated.of_records(body, columns))
        except MALFORMED:
            return None
        self.signature.check_strings(columns, self.max_string_bytes)
        return columns

    def _columns(self, body: bytes, decoders: _Decoders) -> _Decoded:
        """Decode one record, or else a list of records.

        If both decoders fail, the record decoder's error is the context of the list decoder's error.
        """
        decode_record, decode_batch = decoders
        try:
            absence = self._absences.last
            values = _astuple(decode_record(body))
            if body.count(b":") != self._number or self._absences.last is not absence:
                self._check_once(self._repeated.of_record(body, values))
            return list(zip(values)), False
        except MALFORMED:
            (records,) = _astuple(decode_batch(body))
        if len(records) > self.max_rows:
            raise PayloadTooLarge(f"{RECORDS}: expected at most {self.max_rows}, got {len(records)}", field=RECORDS)
        if not records:
            raise InvalidArgument(f"{RECORDS}: expected at least one", field=RECORDS)
        columns = list(zip(*map(_astuple, records), strict=True))
        self._check_once(self._repeated.of_records(body, columns))
        return columns, True

    @staticmethod
    def _check_once(repeated: tuple[int | None, str] | None) -> None:
        """Raise InvalidArgument for a repeated name.

        `repeated` holds its row, which is None without a list, and the name.
        """
        if repeated is not None:
            raise _repeated_error(repeated[1], repeated[0])

    def _whole_columns(self, body: bytes) -> _Decoded | None:
        """Decode a body whose only fault is whole numbers written as 1.0.

        Some clients have no integer type.
        """
        try:
            columns, is_list = self._columns(body, self._lenient)
            whole_columns = [
                tuple(msgspec.convert(with_integers(values), kind))
                for values, kind in zip(columns, self._kinds, strict=True)
            ]
        except MALFORMED:
            return None
        return whole_columns, is_list

    def _diagnose(self, body: bytes, error: Exception) -> InvalidArgument:
        """Return the error for a body that both decoders rejected.

        `error` is the list decoder's error.
        """
        check_depth(body, self.max_json_depth)
        try:
            document = json_errors.parse(body)
        except (ValueError, RecursionError):
            return self._diagnose_unparsed(body, error)
        if not isinstance(document, dict):
            return InvalidArgument(_NO_OBJECT)
        return self.invalid_value_error(document) or self._explain(
            document, _message(error, is_one_record=RECORDS not in document)
        )

    def _diagnose_unparsed(self, body: bytes, error: Exception) -> InvalidArgument:
        """Return an error from the decoders' messages, for a body that can't be parsed.

        The body is invalid, or too large to be parsed again.
        """
        malformed = json_errors.syntax_error(body) if len(body) <= json_errors.MAX_REPARSE_BYTES else None
        if malformed is not None or not isinstance(error, msgspec.ValidationError):
            return _malformed_error(body, malformed or error)
        is_outermost = " - at " not in str(error)  # a fault of the outermost object: the body is not a list of records
        record_error = error.__context__
        if is_outermost and record_error is not None and not isinstance(record_error, msgspec.ValidationError):
            return _malformed_error(body, record_error)
        return self._explain({}, _message(error, is_one_record=is_outermost))

    def invalid_value_error(self, document: Any) -> InvalidArgument | None:  # noqa: ANN401 # any JSON value
        """Return the error for NaN, a lone surrogate or a repeated name, else None.

        msgspec's messages about these faults don't name them.
        """
        records = document.get(RECORDS) if isinstance(document, dict) else None
        rows: list[tuple[int | None, Any]] = [(None, document)]
        rows += enumerate(records) if isinstance(records, list) else []
        for index, record in rows:
            if isinstance(record, json_errors.Members) and record.repeated_name is not None:
                return _repeated_error(record.repeated_name, index)
            for name, value in record.items() if isinstance(record, dict) else ():
                if json_errors.is_invalid_value(value):
                    return self._value_error(name, index, value)
        return None

    def _explain(self, document: dict[str, Any], message: str) -> InvalidArgument:
        """Convert msgspec's message, which ends in a path, into the error for the client."""
        match = _LOCATION.match(message)
        reason, row, name = match.group("what", "row", "name") if match else (message, None, None)
        index = None if row is None else int(row)
        if (
            reason.startswith("Object missing")
            and (name_match := _QUOTED.search(reason))
            and name_match["name"] != RECORDS
        ):
            return self._missing_error(name_match["name"], index)
        if reason.startswith("Object contains unknown") and (name_match := _QUOTED.search(reason)):
            return self.unknown(name_match["name"], index)
        if index is None and name == RECORDS:
            return InvalidArgument(f"{RECORDS}: expected an array of records", field=RECORDS)
        if name is None and index is None:
            return InvalidArgument(_NO_OBJECT)
        if name is None:
            return InvalidArgument(f"{RECORDS}[{index}]: expected an object", field=f"{RECORDS}[{index}]")
        return self._value_error(name, index, _value(document, index, name))

    def _missing_error(self, name: str, row: int | None) -> InvalidArgument:
        message = f"expected {self.signature.by_name[name].expectation()}; it is missing"
        return InvalidArgument(f"{_path(name, row)}: {message}", field=_field(name, row))

    def _value_error(self, name: str, row: int | None, got: object) -> InvalidArgument:
        column = self.signature.by_name.get(name)
        if column is None:
            return self.unknown(name, row)
        message = f"expected {column.expectation()}; got something else" if got is _UNKNOWN else column.fault(got)
        return InvalidArgument(f"{_path(name, row)}: {message}", field=_field(name, row))

    def unknown(self, name: str, row: int | None = None) -> InvalidArgument:
        """Return the error for a record's field that is no feature.

        `row` is the record's number in a list, None for a body of one record.
        """
        if name in self.signature.by_name:
            return InvalidArgument(
                f"{RECORDS}: expected either a list of records or one record's fields", field=RECORDS
            )
        expected = f"expected {quoted_names(self.signature.by_name)}{spelling_hint(name, self.signature.by_name)}"
        return InvalidArgument(f"{_path(name, row)}: no such feature; {expected}", field=_field(name, row))


def _max_counts(signature: Signature, max_rows: int) -> MaxCounts:
    """Return limits on JSON counts, far above those of any valid body.

    The error for a body above them does not state the number of records.
    """
    objects = 4 * max_rows + 1024
    members = objects * (len(signature.columns) + 1)
    return MaxCounts(objects, members, elements=members)


def _may_be_whole(error: BaseException) -> bool:
    """Return whether the fault may be an integer written as 1.0.

    `error` is the list decoder's error.
    """
    return any("got `float`" in str(each) for each in (error, error.__context__))


def _malformed_error(body: bytes, error: BaseException) -> InvalidArgument:
    """Return the error for a body that is not JSON."""
    return InvalidArgument(f"body: expected a JSON object: {json_errors.reason(body, error)}")


def _message(error: Exception, *, is_one_record: bool) -> str:
    """Return the message of the decoder that fits the body.

    If `is_one_record`, this is the record decoder's.
    """
    record_error = error.__context__
    if is_one_record and isinstance(record_error, msgspec.ValidationError):
        message = str(record_error)
        if f"unknown field `{RECORDS}`" not in message:
            return message
    return str(error)


def _repeated_error(name: str, row: int | None) -> InvalidArgument:
    """Return the error for a record that repeats a name."""
    return InvalidArgument(f"{_path(name, row)}: expected once; it is given more than once", field=_field(name, row))


def _path(name: str, row: int | None) -> str:
    """Return a field's path for the start of a message."""
    return quoted_name(name) if row is None else f"{RECORDS}[{row}].{quoted_name(name)}"


def _field(name: str, row: int | None) -> str:
    """Return a field's path for programs to compare, with the name unquoted."""
    return field_name(name) if row is None else f"{RECORDS}[{row}].{field_name(name)}"


def _value(document: dict[str, Any], row: int | None, name: str) -> object:
    """Return the value at fault; _UNKNOWN if the document is not available."""
    try:
        return (document if row is None else document[RECORDS][row])[name]
    except (LookupError, TypeError):
        return _UNKNOWN  # a body too large to be parsed again
