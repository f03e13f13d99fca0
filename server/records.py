"""JSON bytes to feature records, checked against the signature while they are decoded.

Each model gets msgspec types of its own, made once from its signature: decoding and checking are then one pass in C.
Only when a body fails is it looked at again, to say which field was wrong and what was expected.
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from server.errors import InvalidArgument, PayloadTooLarge
from server.json_depth import check_depth
from server.json_types import json_type, lenient_type, whole
from server.manifest import Scalar
from server.signature import Column, Signature

RECORDS: Final = "records"
_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$(?:\.records\[(?P<row>\d+)\])?(?:\.(?P<name>.*))?`)?$", re.DOTALL)
_QUOTED: Final = re.compile(r"`(?P<name>.*)`", re.DOTALL)
_SHOWN_CHARACTERS: Final = 40
"""How much of a caller's own value an error repeats."""
_NO_OBJECT: Final = 'body: expected a JSON object, one record or {"records": [...]}'
_SECOND_LOOK_BYTES: Final = 256 * 1024
"""Largest body that is looked at again when it fails: a document takes some thirty times its bytes in memory."""

MALFORMED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a body that is not what it was to be."""
_astuple = msgspec.structs.astuple
_Decoders = tuple[Callable[[bytes], Any], Callable[[bytes], Any]]
"""Of one record, and of a list of them."""
_Decoded = tuple[list[tuple[Scalar | None, ...]], bool]


def record_type(signature: Signature, type_of: Callable[[Column], Any] = json_type, *, others: bool = False) -> Any:  # noqa: ANN401 # made at run time
    """Return the msgspec type of one record, each feature of what `type_of` says; `others` are passed over."""
    names = {f"f{i}": column.feature.name for i, column in enumerate(signature.columns)}
    fields = [
        (field, type_of(column), None) if column.feature.nullable else (field, type_of(column))
        for field, column in zip(names, signature.columns, strict=True)
    ]
    return msgspec.defstruct(
        "Record", fields, rename=names, kw_only=True, forbid_unknown_fields=not others, frozen=True, gc=False
    )


class RecordDecoder:
    """Decodes the body of a prediction request: one record, or `{"records": [...]}`."""

    def __init__(
        self, signature: Signature, max_rows: int, max_string_bytes: int = 65_536, max_json_depth: int = 32
    ) -> None:
        """Make the decoders of this signature; more records, longer strings and deeper bodies are refused."""
        self.signature = signature
        self.max_rows = max_rows
        self.max_string_bytes = max_string_bytes
        self.max_json_depth = max_json_depth
        self._decode_record, self._decode_batch = self._strict = self._decoders(json_type)
        self._lenient = self._decoders(lenient_type)
        self._kinds = [list[json_type(column)] for column in signature.columns]  # type: ignore[misc] # made at run time

    def _decoders(self, type_of: Callable[[Column], Any]) -> _Decoders:
        """Return what decodes one record, and what decodes a list of them."""
        record: Any = record_type(self.signature, type_of)
        batch = msgspec.defstruct("Records", [(RECORDS, list[record])], forbid_unknown_fields=True)
        return msgspec.json.Decoder(record).decode, msgspec.json.Decoder(batch).decode

    def decode(self, body: bytes) -> _Decoded:
        """Return each feature's values, in the features' order, and whether the body was a list of records.

        Raises InvalidArgument, naming the field and what was expected; PayloadTooLarge for too many records.
        """
        try:
            columns, several = self._columns(body, self._strict)
        except MALFORMED as error:
            found = self._whole_columns(body)
            if found is None:
                raise self._diagnose(body, error) from None
            columns, several = found
        self.signature.check_strings(columns, self.max_string_bytes)
        return columns, several

    def plain(self, body: bytes, *, several: bool) -> list[tuple[Scalar | None, ...]] | None:
        """Return the values of a body that is right in every way, one record or a list of `several`; else None."""
        try:
            if not several:
                columns: list[tuple[Scalar | None, ...]] = list(zip(_astuple(self._decode_record(body))))
            else:
                (records,) = _astuple(self._decode_batch(body))
                if not 1 <= len(records) <= self.max_rows:
                    return None
                columns = list(zip(*map(_astuple, records), strict=True))
        except MALFORMED:
            return None
        self.signature.check_strings(columns, self.max_string_bytes)
        return columns

    def _columns(self, body: bytes, decoders: _Decoders) -> _Decoded:
        decode_record, decode_batch = decoders
        try:
            return list(zip(_astuple(decode_record(body)))), False
        except MALFORMED:
            pass  # no record: then it is a list of them, or wrong
        (records,) = _astuple(decode_batch(body))
        if len(records) > self.max_rows:
            raise PayloadTooLarge(f"{RECORDS}: expected at most {self.max_rows}, got {len(records)}", field=RECORDS)
        if not records:
            raise InvalidArgument(f"{RECORDS}: expected at least one", field=RECORDS)
        return list(zip(*map(_astuple, records), strict=True)), True

    def _whole_columns(self, body: bytes) -> _Decoded | None:
        """Decode a body that is right but for whole numbers written 1.0, as clients do that know no integers."""
        try:
            columns, several = self._columns(body, self._lenient)
            found = [
                tuple(msgspec.convert(whole(values), kind)) for values, kind in zip(columns, self._kinds, strict=True)
            ]
        except MALFORMED:
            return None
        return found, several

    def _diagnose(self, body: bytes, error: Exception) -> InvalidArgument:
        """Say what is wrong with a body that neither decoder took; `error` is the list decoder's."""
        check_depth(body, self.max_json_depth)
        if len(body) > _SECOND_LOOK_BYTES:
            return self._diagnose_unseen(body, error)
        try:
            document = msgspec.json.decode(body)
        except msgspec.ValidationError:  # a number that no JSON value here may be; the decoders name its field
            return self._diagnose_unseen(body, error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed:
            return self._not_a_number(body) or self._diagnose_unseen(body, malformed)
        if not isinstance(document, dict):
            return InvalidArgument(_NO_OBJECT)
        return self._explain(document, self._message(body, error, whole=RECORDS not in document))

    def _diagnose_unseen(self, body: bytes, error: Exception) -> InvalidArgument:
        """Say what the decoders' own messages tell of a body that can't be, or is too large to be, looked at whole."""
        if isinstance(error, msgspec.ValidationError):
            top = " - at " not in str(error)  # a fault of the outermost object: it was no list of records
            return self._explain({}, self._message(body, error, whole=top))
        reason = str(error) if isinstance(error, msgspec.DecodeError) else "it is no UTF-8, or nested too deep"
        return InvalidArgument(f"body: expected a JSON object: {reason}")

    def _message(self, body: bytes, error: Exception, *, whole: bool) -> str:
        """Return the message of the decoder the body was meant for: the record's where the `whole` body is one."""
        if whole:
            try:
                self._decode_record(body)
            except msgspec.ValidationError as record_error:
                if f"unknown field `{RECORDS}`" not in str(record_error):
                    return str(record_error)
        return str(error)

    def _not_a_number(self, body: bytes) -> InvalidArgument | None:
        """Return the failure that names the feature, where what ails the body is NaN or Infinity: no JSON either."""
        try:
            document = json.loads(body.decode())  # unlike msgspec it reads them
        except (ValueError, RecursionError):
            return None
        records = document.get(RECORDS) if isinstance(document, dict) else None
        rows = records if isinstance(records, list) else [document]
        for row, record in enumerate(rows):
            for name, value in record.items() if isinstance(record, dict) else ():
                if name in self.signature.by_name and isinstance(value, float) and not math.isfinite(value):
                    return self._wrong(name, row if rows is records else None, json.dumps(value))
        return None

    def _explain(self, document: dict[str, Any], message: str) -> InvalidArgument:
        """Turn msgspec's message, which ends in the path to the fault, into the one every wire gives."""
        match = _AT.match(message)
        what, row, name = match.group("what", "row", "name") if match else (message, None, None)
        index = None if row is None else int(row)
        if what.startswith("Object missing") and (found := _QUOTED.search(what)) and found["name"] != RECORDS:
            return self._wrong(found["name"], index, None)
        if what.startswith("Object contains unknown") and (found := _QUOTED.search(what)):
            return self.unknown(found["name"], index)
        if index is None and name == RECORDS:
            return InvalidArgument(f"{RECORDS}: expected an array of records", field=RECORDS)
        if name is None and index is None:
            return InvalidArgument(_NO_OBJECT)
        if name is None:
            return InvalidArgument(f"{RECORDS}[{index}]: expected an object", field=f"{RECORDS}[{index}]")
        return self._wrong(name, index, _shown(document, index, name))

    def _wrong(self, name: str, row: int | None, got: str | None) -> InvalidArgument:
        column = self.signature.by_name.get(name)
        if column is None:
            return self.unknown(name, row)
        field = _path(name, row)
        found = (
            "it is missing" if got is None else f"got {got[:_SHOWN_CHARACTERS]}{'...' * (len(got) > _SHOWN_CHARACTERS)}"
        )
        return InvalidArgument(f"{field}: expected {column.expectation()}; {found}", field=field)

    def unknown(self, name: str, row: int | None = None) -> InvalidArgument:
        """Return the failure of a record, the one of number `row` in a list, that has a name which is no feature's."""
        if name in self.signature.by_name:
            return InvalidArgument(
                f"{RECORDS}: expected either a list of records or one record's fields", field=RECORDS
            )
        field = _path(name[:_SHOWN_CHARACTERS], row)
        return InvalidArgument(f"{field}: no such feature; expected {', '.join(self.signature.by_name)}", field=field)


def _path(name: str, row: int | None) -> str:
    return name if row is None else f"{RECORDS}[{row}].{name}"


def _shown(document: dict[str, Any], row: int | None, name: str) -> str:
    """Return the value at fault as JSON. Where a name was given twice, it may no longer be in the document."""
    try:
        value = (document if row is None else document[RECORDS][row])[name]
    except (LookupError, TypeError):
        return "something else"  # a name given twice, or a body too large for a second look
    return json.dumps(value, ensure_ascii=False)
