"""Example requests from golden rows, with the exact responses of this server."""

import asyncio
import csv
import io
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

import msgspec

from server.batch.job import Job
from server.batch.options import BatchOptions, RowOptions
from server.codecs.infer_response import TensorEncoder
from server.codecs.infer_types import DecodedInferRequest
from server.codecs.predictions import prediction_encoder
from server.codecs.records import RecordDecoder
from server.codecs.tables.media_types import CSV, NDJSON, FileFormat
from server.errors import RequestError
from server.inference.explain.explainer import Explainer, Turns
from server.inference.statistics import Counters
from server.models.manifest import Golden, Scalar
from server.models.session import Model
from server.settings import Settings

Record = dict[str, Scalar | None]
_MAX_INTEGER: Final = 2**53
"""Largest whole number that a browser (JavaScript) represents exactly."""
_MIN_MAGNITUDE: Final = 1e-6
"""Smallest magnitude of a number in an example; smaller values tell a reader nothing."""


class Examples:
    """Examples of one model version: two golden rows, and a record that is rejected."""

    def __init__(self, model: Model, settings: Settings) -> None:
        """Run `model` on the golden rows, under the limits of `settings`."""
        self.model = model
        self._settings = settings
        self.records = _select_golden(model.manifest.golden)[: settings.max_rows]
        columns = model.signature.from_records(self.records)
        self.outputs = [*model.run(columns).values()]
        """Model outputs for the records, in the order of the manifest."""
        self._members: dict[str, Any] = {"model": model.name, "version": model.version}

    @property
    def record(self) -> Record:
        """The first record."""
        return self.records[0]

    @cached_property
    def responses(self) -> dict[str, Any]:
        """Responses to one record and to several records."""
        predict_row = prediction_encoder(self.model.manifest)
        predictions = [predict_row(self.outputs, row) for row in range(len(self.records))]
        return {
            "record": self._members | predictions[0],
            "records": self._members | {"predictions": predictions},
        }

    @cached_property
    def explanation(self) -> dict[str, Any]:
        """Response to one record with its feature contributions, for models that can be explained."""
        explainer = Explainer(self.model.manifest, self.model.signature, self._settings)
        columns, _ = explainer.decode(msgspec.json.encode(self.record))
        coroutine = explainer.explain(self.model, columns, Turns(), Counters())  # these counters are not reported
        return self._members | asyncio.run(coroutine)[0]

    @cached_property
    def rejected(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """A record with an invalid value, and the error envelope of its response."""
        settings, signature = self._settings, self.model.signature
        column = next((each for each in signature.columns if each.feature.minimum is not None), signature.columns[0])
        name, low = column.feature.name, column.feature.minimum
        value: Any = [] if low is None or low - 1 == low else low - 1  # for a large float, low - 1 may equal low
        invalid_record: dict[str, Any] = {**self.record, name: value}
        decoder = RecordDecoder(signature, settings.max_rows, settings.max_string_bytes, settings.max_json_depth)
        try:
            decoder.decode(msgspec.json.encode(invalid_record))
        except RequestError as error:
            return invalid_record, msgspec.json.decode(error.envelope())
        raise AssertionError(f"{name}: it takes any value")

    @cached_property
    def tensors(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The records as a request of the Open Inference Protocol, and the response to it."""
        rows = len(self.records)
        inputs = [
            {
                "name": feature.name,
                "shape": [rows, 1],
                "datatype": feature.datatype,
                "data": [record.get(feature.name) for record in self.records],
            }
            for feature in self.model.manifest.features
        ]
        encoder = TensorEncoder(self.model.manifest)
        inference = DecodedInferRequest([], rows)
        response, _ = encoder.encode(inference, encoder.requested(inference), self.outputs, 0, rows)
        return {"inputs": inputs}, msgspec.json.decode(response)

    @cached_property
    def files(self) -> dict[FileFormat, tuple[str, str]]:
        """The records as a file in each text format, and the scored file.

        Empty if a feature has the same name as an added column: no file may have such a column.
        """
        try:
            return {file_format: self._file(file_format) for file_format in (CSV, NDJSON)}
        except RequestError:
            return {}

    def _file(self, file_format: FileFormat) -> tuple[str, str]:
        if file_format is CSV:
            text = io.StringIO()
            rows = csv.DictWriter(text, list(self.record), lineterminator="\n")
            rows.writeheader()
            rows.writerows(self.records)
            file_text = text.getvalue()
        else:
            file_text = "".join(msgspec.json.encode(record).decode() + "\n" for record in self.records)
        source, sink = _Bytes(file_text.encode()), _Bytes()
        Job(BatchOptions(self.model, RowOptions(), file_format), self._settings).run(
            source, lambda: False, sink, lambda _form: None
        )
        return file_text, sink.getvalue().decode()


class _Bytes(io.BytesIO):
    """File in memory; reading and writing it cannot fail."""

    failure: Exception | None = None


def _select_golden(golden: Golden) -> list[Record]:
    """Return the first golden row, and a row with a different output if one exists.

    A row with a different label is preferred.
    """
    first, *others = [*_readable(golden)] or [0]
    for output in golden.outputs.values():
        for row in others:
            if output[row] != output[first]:
                return [golden.records[first], golden.records[row]]
    return [golden.records[first]]


def _readable(golden: Golden) -> Iterator[int]:
    for row, record in enumerate(golden.records):
        numbers = [value for value in record.values() if isinstance(value, int | float)]
        if all(
            str(value) != "-0.0" and (value == 0 or _MIN_MAGNITUDE <= abs(value) <= _MAX_INTEGER) for value in numbers
        ):
            yield row
