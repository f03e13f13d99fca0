"""Typed requests to checked columns, and a model's outputs to typed responses, in binary and in JSON.

Binary requests are decoded by protobuf and checked whole, in one pass in C, by a msgspec type made from the signature.
Responses, whose fields are few and known, are laid out once at load: an answer is then its numbers put between bytes.
In JSON both directions are REST's own, whose names and values are the same; what that doesn't take protobuf decodes.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError, Message

from server.answers import answerer
from server.errors import InvalidArgument, PayloadTooLarge, RequestError
from server.json_types import json_type
from server.manifest import Manifest, Scalar
from server.records import RECORDS, RecordDecoder
from server.rpc import codecs, typed_file
from server.rpc.wire_format import double_field, length_prefixed, scalar_field, string_field
from server.signature import Outputs, Signature

Rows = Sequence[tuple[Scalar | None, ...]]
_SHOWN_CHARACTERS: Final = 40


class RequestDecoder:
    """Decodes the requests of one model's typed service."""

    def __init__(self, signature: Signature, records: RecordDecoder, kinds: Mapping[str, type[Message]]) -> None:
        """Decode messages of `kinds`, by their names; JSON is tried by `records` first."""
        self._signature = signature
        self._records = records
        self._kinds = kinds
        self._one = kinds[typed_file.REQUEST]
        self._names = [column.feature.name for column in signature.columns]
        fields = typed_file.field_names([column.feature for column in signature.columns])
        self._fields = [fields[name] for name in self._names]
        self._values = _getter(self._fields)
        self._nullable = [
            (place, self._fields[place]) for place, column in enumerate(signature.columns) if column.feature.nullable
        ]
        types = [(f"f{place}", json_type(column)) for place, column in enumerate(signature.columns)]
        row: Any = msgspec.defstruct("Row", types, array_like=True)
        self._row = row
        self._rows = msgspec.defstruct("Rows", [("rows", list[row])], array_like=True)

    def decode(self, codec: str, message: bytes, *, several: bool) -> Sequence[Any]:
        """Return each feature's values of one record, or of `several`. Raises RequestError, naming the field."""
        if codec == codecs.JSON:
            plain = self._records.plain(message, several=several)
            if plain is not None:
                return plain
        elif not several:
            try:
                values = self._record(self._one.FromString(message))
                msgspec.convert(values, self._row)
            except (DecodeError, msgspec.ValidationError):
                pass  # what is wrong is told below
            else:
                if self._signature.has_free_strings:
                    self._signature.check_strings([*zip(values)], self._records.max_string_bytes)
                return [*zip(values)]
        columns = self._columns(self._messages(codec, message, several=several), several=several)
        self._signature.check_strings(columns, self._records.max_string_bytes)
        return columns

    def _messages(self, codec: str, message: bytes, *, several: bool) -> Sequence[Message]:
        kind = self._kinds[typed_file.BATCH_REQUEST if several else typed_file.REQUEST]
        try:
            request = codecs.decode(codec, kind, message, strict=True)
            if codec == codecs.JSON:
                self._check_truth(message, several=several)
        except InvalidArgument as error:
            raise self._told(codec, message, error, several=several) from None
        if not several:
            return [request]
        records: Sequence[Message] = request.records  # type: ignore[attr-defined] # of a type made at run time
        if not records:
            raise InvalidArgument(f"{RECORDS}: expected at least one", field=RECORDS)
        if len(records) > self._records.max_rows:
            words = f"{RECORDS}: expected at most {self._records.max_rows}, got {len(records)}"
            raise PayloadTooLarge(words, field=RECORDS)
        return records

    def _told(self, codec: str, message: bytes, error: InvalidArgument, *, several: bool) -> RequestError:
        """Return what is wrong with bytes that are no message: in REST's words, which name the field, where it can."""
        if codec == codecs.JSON:
            try:
                self._records.decode(message)
            except RequestError as named:
                if several == str(named.field).startswith(RECORDS) or named.field is None:
                    return named
            if several:
                return InvalidArgument(f"{RECORDS}: expected an array of records", field=RECORDS)
        return error

    def _check_truth(self, message: bytes, *, several: bool) -> None:
        """Raise InvalidArgument for true or false where a number is due: the library takes them for 1 and 0."""
        document = json.loads(message)
        for number, record in enumerate(document.get(RECORDS) or [] if several else [document]):
            for column in self._signature.columns:
                name = column.feature.name
                if isinstance(record.get(name), bool) and column.feature.datatype != "BOOL":
                    field = f"{RECORDS}[{number}].{name}" if several else name
                    got = json.dumps(record[name])
                    raise InvalidArgument(f"{field}: expected {column.expectation()}; got {got}", field=field)

    def _columns(self, messages: Sequence[Message], *, several: bool) -> Sequence[Any]:
        rows = [self._record(message) for message in messages]
        try:
            if len(rows) == 1:
                msgspec.convert(rows[0], self._row)
            else:
                msgspec.convert((rows,), self._rows)
        except msgspec.ValidationError:
            self._check(rows, several=several)
        return [*zip(*rows, strict=True)]

    def _record(self, message: Message) -> tuple[Scalar | None, ...]:
        """Return a record's values, null as None; what has no presence and wasn't sent is its type's zero.

        NaN is null where null is allowed: so do tensors say it, and JSON's own "NaN".
        """
        values = self._values(message)
        for place, field in self._nullable:
            value = values[place]
            if value != value or (not value and not message.HasField(field)):  # noqa: PLR0124 # only a NaN differs from itself
                values = (*values[:place], None, *values[place + 1 :])
        return values

    def _check(self, rows: Rows, *, several: bool) -> None:
        """Raise InvalidArgument for the first value that its column may not hold."""
        columns = self._signature.columns
        kinds = [msgspec.defstruct("One", [("value", json_type(column))], array_like=True) for column in columns]
        for number, row in enumerate(rows):
            for value, column, kind in zip(row, columns, kinds, strict=True):
                try:
                    msgspec.convert((value,), kind)
                except msgspec.ValidationError:
                    name = column.feature.name
                    field = f"{RECORDS}[{number}].{name}" if several else name
                    got = json.dumps(value, ensure_ascii=False)
                    words = f"{field}: expected {column.expectation()}; got {got[:_SHOWN_CHARACTERS]}"
                    raise InvalidArgument(words, field=field) from None


def _getter(names: Sequence[str]) -> Callable[[Message], tuple[Any, ...]]:
    """Return what gets several fields at once."""
    if len(names) == 1:
        (name,) = names
        return lambda message: (getattr(message, name),)
    return attrgetter(*names)


class ResponseEncoder:
    """Encodes the responses of one model's typed service."""

    def __init__(self, manifest: Manifest) -> None:
        """Lay out the answers of `manifest`'s model."""
        self._answer = answerer(manifest)
        served = {"model": manifest.name, "version": str(manifest.version)}
        self._served_json = msgspec.json.encode(served)[:-1] + b","
        self._served = b"".join(
            string_field(number, served[name])
            for name, number in (("model", typed_file.MODEL), ("version", typed_file.VERSION))
        )
        self._prediction = _prediction(manifest)
        self._is_long = manifest.kind != "regression" and manifest.output("label").datatype in {"INT64", "UINT64"}

    def one(self, codec: str) -> Callable[[Outputs, int, int], bytes]:
        """Return what encodes the PredictResponse of a row: the first of those from one number up to another."""
        return self._one_json if codec == codecs.JSON else self._one_binary

    def _one_json(self, outputs: Outputs, row: int, _stop: int) -> bytes:
        return self._served_json + self._json(outputs, row)[1:]

    def _one_binary(self, outputs: Outputs, row: int, _stop: int) -> bytes:
        return self._prediction(outputs, row) + self._served

    def several(self, codec: str, outputs: Outputs, start: int, stop: int) -> bytes:
        """Return the PredictBatchResponse of the rows from `start` to `stop`."""
        rows = range(start, stop)
        if codec == codecs.JSON:
            return b"".join(
                (self._served_json, b'"predictions":[', b",".join(self._json(outputs, row) for row in rows), b"]}")
            )
        predictions = (length_prefixed(typed_file.PREDICTIONS, self._prediction(outputs, row)) for row in rows)
        return self._served + b"".join(predictions)

    def _json(self, outputs: Outputs, row: int) -> bytes:
        """Return one answer by the protobuf mapping: REST's, but for what JSON has no number for."""
        answer = self._answer(outputs, row)
        if self._is_long:
            answer["label"] = str(answer["label"])
        text = msgspec.json.encode(answer)
        return msgspec.json.encode(_named(answer)) if b":null" in text else text


def _named(value: Any) -> Any:  # noqa: ANN401 # JSON
    """Return an answer with what is no finite number by its name."""
    if isinstance(value, dict):
        return {name: _named(each) for name, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _prediction(manifest: Manifest) -> Callable[[Outputs, int], bytes]:
    """Return what encodes one row's Prediction: numbers between bytes that are known at load."""
    if manifest.kind == "regression":
        place = manifest.outputs.index(manifest.output("value"))
        return lambda outputs, row: double_field(typed_file.VALUE, float(outputs[place].item(row)))
    label = manifest.outputs.index(manifest.output("label"))
    probabilities = manifest.outputs.index(manifest.output("probabilities"))
    entries = [_before_double(typed_file.PROBABILITIES, name) for name in manifest.classes]
    positive = manifest.classes.index(str(manifest.positive_class)) if manifest.kind == "binary" else None
    kept: dict[Scalar, Callable[[list[float]], bytes]] = {}

    def encode(outputs: Outputs, row: int) -> bytes:
        said = outputs[label].item(row)
        pack = kept.get(said)
        if pack is None:
            pack = kept[said] = _packer(scalar_field(typed_file.LABEL, said), entries, positive)
        return pack(outputs[probabilities][row].tolist())

    return encode


def _before_double(number: int, key: str) -> bytes:
    """Return all of a map's entry but the eight bytes of its value, which are its last."""
    entry = string_field(1, key) + double_field(2, 0.0)
    return length_prefixed(number, entry)[:-8]


def _packer(label: bytes, entries: Sequence[bytes], positive: int | None) -> Callable[[list[float]], bytes]:
    """Return what puts the classes' probabilities into the bytes of one label's answer."""
    before = list(entries)
    if positive is not None:
        before.insert(0, double_field(typed_file.PROBABILITY, 0.0)[:-8])
    before[0] = label + before[0]
    pack = struct.Struct("<" + "".join(f"{len(each)}sd" for each in before)).pack
    pieces: list[bytes | float] = [piece for each in before for piece in (each, 0.0)]

    def packed(numbers: list[float]) -> bytes:
        given = pieces.copy()
        given[1::2] = numbers if positive is None else [numbers[positive], *numbers]
        return pack(*given)

    return packed
