"""Golden rows to examples: requests as they may be sent, and what this server answers them, bit for bit."""

import asyncio
import csv
import io
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

import msgspec

from server.answers import answerer
from server.asked import Asked, Wanted
from server.batch import Job
from server.counters import Counters
from server.errors import RequestError
from server.explaining import Explainer, Turns
from server.inference import Inference
from server.manifest import Golden, Scalar
from server.model import Model
from server.records import RecordDecoder
from server.settings import Settings
from server.tables.forms import CSV, NDJSON, Form
from server.tensor_answers import TensorEncoder

Record = dict[str, Scalar | None]
_LARGEST: Final = 2**53
"""Whole numbers up to here are the same in a browser."""
_LEAST: Final = 1e-6
"""Numbers nearer to zero prove something of a model; to a reader they say nothing."""


class Examples:
    """The examples of one model version: two of its golden rows, and a record that is refused."""

    def __init__(self, model: Model, settings: Settings) -> None:
        """Ask `model` itself; `settings` are those that it answers by."""
        self.model = model
        self._settings = settings
        self.records = _telling(model.manifest.golden)[: settings.max_rows]
        columns = model.signature.from_records(self.records)
        self.outputs = [*model.run(columns).values()]
        """The model's, in the manifest's order, for the records."""
        self._served: dict[str, Any] = {"model": model.name, "version": model.version}

    @property
    def record(self) -> Record:
        """The first of the records."""
        return self.records[0]

    @cached_property
    def answers(self) -> dict[str, Any]:
        """What is answered to one record, and to several."""
        answer = answerer(self.model.manifest)
        each = [answer(self.outputs, row) for row in range(len(self.records))]
        return {"record": self._served | each[0], "records": self._served | {"predictions": each}}

    @cached_property
    def explained(self) -> dict[str, Any]:
        """What is answered to one record, and what that is made of; for models that can be explained."""
        explainer = Explainer(self.model.manifest, self.model.signature, self._settings)
        columns, _ = explainer.decode(msgspec.json.encode(self.record))
        work = explainer.explain(self.model, columns, Turns(), Counters())  # counted by nobody
        return self._served | asyncio.run(work)[0]

    @cached_property
    def refused(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """A record with a value that can't be, and the envelope that its sender gets."""
        settings, signature = self._settings, self.model.signature
        column = next((each for each in signature.columns if each.feature.minimum is not None), signature.columns[0])
        name, low = column.feature.name, column.feature.minimum
        value: Any = [] if low is None or low - 1 == low else low - 1  # a large number less one may be itself
        wrong: dict[str, Any] = {**self.record, name: value}
        decoder = RecordDecoder(signature, settings.max_rows, settings.max_string_bytes, settings.max_json_depth)
        try:
            decoder.decode(msgspec.json.encode(wrong))
        except RequestError as error:
            return wrong, msgspec.json.decode(error.envelope())
        raise AssertionError(f"{name}: it takes any value")

    @cached_property
    def tensors(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The records as a request of the Open Inference Protocol, and the answer to it."""
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
        inference = Inference([], rows)
        answer = encoder.encode(inference, encoder.wanted(inference), self.outputs, 0, rows)
        assert isinstance(answer, bytes)  # noqa: S101 # JSON, where nothing binary is wanted
        return {"inputs": inputs}, msgspec.json.decode(answer)

    @cached_property
    def files(self) -> dict[Form, tuple[str, str]]:
        """The records as a file of each form that is text, and the same scored.

        None where a feature has a name that an answer adds: no file may have such a column.
        """
        try:
            return {form: self._file(form) for form in (CSV, NDJSON)}
        except RequestError:
            return {}

    def _file(self, form: Form) -> tuple[str, str]:
        if form is CSV:
            text = io.StringIO()
            rows = csv.DictWriter(text, list(self.record), lineterminator="\n")
            rows.writeheader()
            rows.writerows(self.records)
            given = text.getvalue()
        else:
            given = "".join(msgspec.json.encode(record).decode() + "\n" for record in self.records)
        source, sink = _Bytes(given.encode()), _Bytes()
        Job(Asked(self.model, Wanted(), form), self._settings).run(source, lambda: False, sink, lambda _form: None)
        return given, sink.getvalue().decode()


class _Bytes(io.BytesIO):
    """A file in memory: it doesn't fail."""

    failure: Exception | None = None


def _telling(golden: Golden) -> list[Record]:
    """Return the first golden row, and another that is answered otherwise where there is one, by another label best."""
    first, *others = [*_readable(golden)] or [0]
    for output in golden.outputs.values():
        for row in others:
            if output[row] != output[first]:
                return [golden.records[first], golden.records[row]]
    return [golden.records[first]]


def _readable(golden: Golden) -> Iterator[int]:
    for row, record in enumerate(golden.records):
        numbers = [value for value in record.values() if isinstance(value, int | float)]
        if all(str(value) != "-0.0" and (value == 0 or _LEAST <= abs(value) <= _LARGEST) for value in numbers):
            yield row
