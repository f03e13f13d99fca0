"""Codec of typed messages, in binary and JSON: requests to columns, outputs to responses.

- Binary requests: protobuf decodes them; a msgspec type made from the signature checks all values in one pass in C.
- Binary responses: their few fields are fixed, so their bytes are prepared at load. Encoding inserts the numbers.
- JSON: both directions use the REST codec, because names and values are the same. protobuf decodes JSON requests that
  the REST codec does not accept.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

import msgspec
from google.protobuf.message import DecodeError, Message

from server.codecs import json_errors
from server.codecs.json_types import json_type
from server.codecs.predictions import prediction_encoder
from server.codecs.records import RECORDS, RecordDecoder
from server.errors import InvalidArgument, PayloadTooLarge, RequestError
from server.models.manifest import Manifest, Scalar
from server.models.signature import Outputs, Signature
from server.rpc.protocols import message_codec
from server.rpc.protocols.wire_format import double_field, length_prefixed, scalar_field, string_field
from server.rpc.services import typed_descriptor

Rows = Sequence[tuple[Scalar | None, ...]]


class RequestDecoder:
    """Decoder of requests to one model's typed service."""

    def __init__(
        self,
        signature: Signature,
        records: RecordDecoder,
        message_types: Mapping[str, type[Message]],
        max_json_bytes: int,
    ) -> None:
        """Decode messages of `message_types`, by message name; try JSON with `records` first.

        protobuf does not decode JSON larger than `max_json_bytes`: such a message must be in the REST format.
        """
        self._max_json_bytes = max_json_bytes
        self._signature = signature
        self._records = records
        self._message_types = message_types
        self._max_fields = max(message_codec.MAX_FIELDS, records.max_rows)
        self._one = message_types[typed_descriptor.REQUEST]
        self._names = [column.feature.name for column in signature.columns]
        fields = typed_descriptor.field_names([column.feature for column in signature.columns])
        self._fields = [fields[name] for name in self._names]
        self._values = _getter(self._fields)
        self._nullable = [
            (index, self._fields[index]) for index, column in enumerate(signature.columns) if column.feature.nullable
        ]
        types = [(f"f{index}", json_type(column)) for index, column in enumerate(signature.columns)]
        row: Any = msgspec.defstruct("Row", types, array_like=True)
        self._row = row
        self._rows = msgspec.defstruct("Rows", [("rows", list[row])], array_like=True)

    def decode(self, codec: str, message: bytes, *, several: bool) -> Sequence[Any]:
        """Return one value sequence per feature, for one record or for `several`.

        Raises RequestError with the name of the field.
        """
        if codec == message_codec.JSON:
            plain = self._records.decode_valid(message, is_list=several)
            if plain is not None:
                return plain
            message = json_errors.without_bom(message) or message
            if len(message) > self._max_json_bytes:
                return self._decode_rest_json(message, several=several)
        elif not several:
            try:
                values = self._record(self._one.FromString(message))
                msgspec.convert(values, self._row)
            except (DecodeError, msgspec.ValidationError):
                pass  # the code below finds the error
            else:
                if self._signature.has_free_strings:
                    self._signature.check_strings([*zip(values)], self._records.max_string_bytes)
                return [*zip(values)]
        columns = self._columns(self._messages(codec, message, several=several), several=several)
        self._signature.check_strings(columns, self._records.max_string_bytes)
        return columns

    def plain(self, message: bytes, *, several: bool) -> Sequence[Any] | None:
        """Return the values of valid JSON in the REST format; else None."""
        return self._records.decode_valid(message, is_list=several)

    def _decode_rest_json(self, message: bytes, *, several: bool) -> Sequence[Any]:
        """Return the values of JSON in the REST format. Raises RequestError with the field's name."""
        columns, is_list = self._records.decode(message)
        if is_list == several:
            return columns
        if several:
            raise InvalidArgument(f"{RECORDS}: expected an array of records", field=RECORDS)
        raise self._records.unknown(RECORDS)

    def _messages(self, codec: str, message: bytes, *, several: bool) -> Sequence[Message]:
        kind = self._message_types[typed_descriptor.BATCH_REQUEST if several else typed_descriptor.REQUEST]
        try:
            request = message_codec.decode(codec, kind, message, strict=True, max_fields=self._max_fields)
            if codec == message_codec.JSON:
                self._check_booleans(message, several=several)
        except InvalidArgument as error:
            raise self._decode_error(codec, message, error, several=several) from None
        if not several:
            return [request]
        records: Sequence[Message] = request.records  # type: ignore[attr-defined] # a run-time type
        if not records:
            raise InvalidArgument(f"{RECORDS}: expected at least one", field=RECORDS)
        if len(records) > self._records.max_rows:
            text = f"{RECORDS}: expected at most {self._records.max_rows}, got {len(records)}"
            raise PayloadTooLarge(text, field=RECORDS)
        return records

    def _decode_error(self, codec: str, message: bytes, error: InvalidArgument, *, several: bool) -> RequestError:
        """Return the error for bytes that are not a valid message.

        For JSON it is REST's error, which names the field, if REST rejects the message too.
        """
        if codec == message_codec.JSON:
            try:
                self._records.decode(message)
            except RequestError as rest_error:
                if several == str(rest_error.field).startswith(RECORDS) or rest_error.field is None:
                    return rest_error
            if several:
                return InvalidArgument(f"{RECORDS}: expected an array of records", field=RECORDS)
        return error

    def _check_booleans(self, message: bytes, *, several: bool) -> None:
        """Raise InvalidArgument for a boolean where a number is expected.

        The protobuf library parses true and false as 1 and 0, and an empty array as a message without fields.
        """
        document = json.loads(message)
        for number, record in enumerate(document.get(RECORDS) or [] if several else [document]):
            if not isinstance(record, dict):
                raise InvalidArgument(f"{RECORDS}[{number}]: expected an object", field=f"{RECORDS}[{number}]")
            for column in self._signature.columns:
                name = column.feature.name
                if isinstance(record.get(name), bool) and column.feature.datatype != "BOOL":
                    field = f"{RECORDS}[{number}].{name}" if several else name
                    raise InvalidArgument(f"{field}: {column.fault(record[name])}", field=field)

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
        """Return a record's values, with None for null.

        An unset field without presence has its type's zero value. NaN in a nullable field is null, as in tensors and as
        the string "NaN" in JSON.
        """
        values = self._values(message)
        for index, field in self._nullable:
            value = values[index]
            if value != value or (not value and not message.HasField(field)):  # noqa: PLR0124 # true for NaN only
                values = (*values[:index], None, *values[index + 1 :])
        return values

    @cached_property
    def _value_types(self) -> list[Any]:
        """One type per column, to find the invalid value; created on the first error."""
        columns = self._signature.columns
        return [msgspec.defstruct("One", [("value", json_type(column))], array_like=True) for column in columns]

    def _check(self, rows: Rows, *, several: bool) -> None:
        """Raise InvalidArgument for the first value that its column does not allow."""
        columns = self._signature.columns
        for number, row in enumerate(rows):
            for value, column, kind in zip(row, columns, self._value_types, strict=True):
                try:
                    msgspec.convert((value,), kind)
                except msgspec.ValidationError:
                    name = column.feature.name
                    field = f"{RECORDS}[{number}].{name}" if several else name
                    raise InvalidArgument(f"{field}: {column.fault(value)}", field=field) from None


def _getter(names: Sequence[str]) -> Callable[[Message], tuple[Any, ...]]:
    """Return a function that reads several fields of a message."""
    if len(names) == 1:
        (name,) = names
        return lambda message: (getattr(message, name),)
    return attrgetter(*names)


class ResponseEncoder:
    """Encoder of responses of one model's typed service."""

    def __init__(self, manifest: Manifest) -> None:
        """Prepare the response bytes for the model of `manifest`."""
        self._predict_row = prediction_encoder(manifest)
        version_members = {"model": manifest.name, "version": str(manifest.version)}
        self._json_prefix = msgspec.json.encode(version_members)[:-1] + b","
        self._version_fields = b"".join(
            string_field(number, version_members[name])
            for name, number in (("model", typed_descriptor.MODEL), ("version", typed_descriptor.VERSION))
        )
        self._prediction = _prediction(manifest)
        self._is_long = manifest.kind != "regression" and manifest.output("label").datatype in {"INT64", "UINT64"}

    def one(self, codec: str) -> Callable[[Outputs, int, int], bytes]:
        """Return the encoder of a PredictResponse; it encodes the first row of its range."""
        return self._one_json if codec == message_codec.JSON else self._one_binary

    def _one_json(self, outputs: Outputs, row: int, _stop: int) -> bytes:
        return self._json_prefix + self._json(outputs, row)[1:]

    def _one_binary(self, outputs: Outputs, row: int, _stop: int) -> bytes:
        return self._prediction(outputs, row) + self._version_fields

    def several(self, codec: str, outputs: Outputs, start: int, stop: int) -> bytes:
        """Return the PredictBatchResponse of the rows from `start` up to `stop`."""
        rows = range(start, stop)
        if codec == message_codec.JSON:
            return b"".join(
                (self._json_prefix, b'"predictions":[', b",".join(self._json(outputs, row) for row in rows), b"]}")
            )
        predictions = (length_prefixed(typed_descriptor.PREDICTIONS, self._prediction(outputs, row)) for row in rows)
        return self._version_fields + b"".join(predictions)

    def _json(self, outputs: Outputs, row: int) -> bytes:
        """Return one prediction in protobuf JSON.

        It is REST's JSON, except that 64-bit integer labels are strings and non-finite numbers are names.
        """
        prediction = self._predict_row(outputs, row)
        if self._is_long:
            prediction["label"] = str(prediction["label"])
        text = msgspec.json.encode(prediction)
        return msgspec.json.encode(_name_non_finite(prediction)) if b":null" in text else text


def _name_non_finite(value: Any) -> Any:  # noqa: ANN401 # JSON
    """Replace non-finite numbers in a JSON value with their protobuf names."""
    if isinstance(value, dict):
        return {name: _name_non_finite(each) for name, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _prediction(manifest: Manifest) -> Callable[[Outputs, int], bytes]:
    """Return the encoder of one row's Prediction.

    It inserts the numbers between bytes that are known at load.
    """
    if manifest.kind == "regression":
        index = manifest.outputs.index(manifest.output("value"))
        return lambda outputs, row: double_field(typed_descriptor.VALUE, float(outputs[index].item(row)))
    label = manifest.outputs.index(manifest.output("label"))
    probabilities = manifest.outputs.index(manifest.output("probabilities"))
    entries = [_before_double(typed_descriptor.PROBABILITIES, name) for name in manifest.classes]
    positive = manifest.classes.index(str(manifest.positive_class)) if manifest.kind == "binary" else None
    encoders: dict[Scalar, Callable[[list[float]], bytes]] = {}

    def encode(outputs: Outputs, row: int) -> bytes:
        label_value = outputs[label].item(row)
        encode_row = encoders.get(label_value)
        if encode_row is None:
            encode_row = encoders[label_value] = _row_encoder(
                scalar_field(typed_descriptor.LABEL, label_value), entries, positive
            )
        return encode_row(outputs[probabilities][row].tolist())

    return encode


def _before_double(number: int, key: str) -> bytes:
    """Return a map entry without the eight bytes of its value, which come last."""
    entry = string_field(1, key) + double_field(2, 0.0)
    return length_prefixed(number, entry)[:-8]


def _row_encoder(label: bytes, entries: Sequence[bytes], positive: int | None) -> Callable[[list[float]], bytes]:
    """Return a function that inserts the probabilities into one label's prediction bytes."""
    parts = list(entries)
    if positive is not None:
        parts.insert(0, double_field(typed_descriptor.PROBABILITY, 0.0)[:-8])
    parts[0] = label + parts[0]
    pack = struct.Struct("<" + "".join(f"{len(each)}sd" for each in parts)).pack
    pieces: list[bytes | float] = [piece for each in parts for piece in (each, 0.0)]

    def encode_row(numbers: list[float]) -> bytes:
        values = pieces.copy()
        values[1::2] = numbers if positive is None else [numbers[positive], *numbers]
        return pack(*values)

    return encode_row
