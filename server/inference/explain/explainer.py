"""Explanations of records: one model version, run in chunks between predictions.

Imported at the first explanation request, so that startup does not pay for it. The runs call the model directly and
bypass its queue: they are not predictions, and the prediction statistics do not include them.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from server.codecs.predictions import prediction_encoder
from server.codecs.records import RecordDecoder
from server.errors import PayloadTooLarge, Unimplemented
from server.inference.explain.shapley import Background, Coalitions, Values
from server.inference.statistics import Counters
from server.models.manifest import MAX_EXPLAINED_FEATURES, Manifest
from server.models.run_limits import LOOP_TIMEOUT_S, RunTimeout
from server.models.session import Model
from server.models.signature import Outputs, Signature
from server.settings import Settings

MAX_RUN_ROWS: Final = 128
"""Maximum rows of one run, 0.15 ms for trees.

Larger runs are hardly faster per row, and a prediction waits for one run at most.
"""
_TURNS: Final = 3
"""Turns of the event loop between two runs.

They let the loop read incoming data, queue it, run it and send the response.
"""
P = ParamSpec("P")
T = TypeVar("T")


class _Runs:
    """Counted runs of one model version."""

    def __init__(self, model: Model, names: Sequence[str], counters: Counters) -> None:
        self._model = model
        self._names = names
        self._counters = counters

    async def run(self, columns: Sequence[NDArray[Any]], outputs: Sequence[str] | None, turns: "Turns") -> Outputs:
        """Run the rows of `columns`, one column per feature.

        Returns the outputs called `outputs`, or all. The run uses the event loop, unless the model holds it too long.
        """
        if not self._model.is_slow:
            try:
                return await turns.call(self._run, columns, outputs, LOOP_TIMEOUT_S)
            except RunTimeout:
                self._model.is_slow = True
        return await asyncio.to_thread(self._run, columns, outputs, None)

    def _run(self, columns: Sequence[NDArray[Any]], outputs: Sequence[str] | None, timeout_s: float | None) -> Outputs:
        start_ns = time.perf_counter_ns()
        with self._model.limits.limited(timeout_s) as options:
            values = [*self._model.run(dict(zip(self._names, columns, strict=True)), outputs, options).values()]
        self._counters.infer_ns += time.perf_counter_ns() - start_ns
        self._counters.runs += 1
        self._counters.rows += len(columns[0])
        return values


class Turns:
    """Serializes the runs of all explanations on the event loop.

    Other work gets its turns between two runs.
    """

    def __init__(self) -> None:
        """Create the lock."""
        self._lock = asyncio.Lock()

    async def call(self, run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of `run`, which is called without interruption.

        A caller that is cancelled makes no further runs.
        """
        async with self._lock:
            result = run(*args, **kwargs)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            return result


class Explainer:
    """State for the explanations of one model version. Holds no session."""

    def __init__(self, manifest: Manifest, signature: Signature, settings: Settings) -> None:
        """Prepare the explanations of a model.

        Raises Unimplemented for a model that can't be explained, PayloadTooLarge if one record already exceeds the
        limit.
        """
        max_records = min(settings.max_rows, _max_records(manifest, settings))
        records = RecordDecoder(signature, max_records, settings.max_string_bytes, settings.max_json_depth)
        self.decode = records.decode
        """Decodes a body to columns, and whether it was a list of records; raises RequestError."""
        self._columns = signature.columns
        self._names = [column.feature.name for column in signature.columns]
        self._background = Background([*signature.from_records(manifest.background).values()])
        self._max_run_rows = min(settings.max_batch_rows, MAX_RUN_ROWS)
        self._predict_row = prediction_encoder(manifest)
        output = manifest.output("value" if manifest.kind == "regression" else "probabilities")
        self._output = output.name
        self._output_index = manifest.outputs.index(output)
        self._class_index = manifest.classes.index(str(manifest.positive_class)) if manifest.kind == "binary" else None
        self._classes = manifest.classes if manifest.kind == "multiclass" else None

    async def explain(
        self, model: Model, columns: Sequence[Any], turns: Turns, counters: Counters
    ) -> list[dict[str, Any]]:
        """Return the prediction of each record and its feature contributions.

        `model` is the version of this explainer. `columns` holds the values of each feature, as `decode` returned them.
        The runs are counted in `counters`.
        """
        arrays = [column.array(values) for column, values in zip(self._columns, columns, strict=True)]
        records = [[array[row : row + 1] for array in arrays] for row in range(len(arrays[0]))]
        return [await self._explain(_Runs(model, self._names, counters), record, turns) for record in records]

    async def _explain(self, runs: "_Runs", record: list[NDArray[Any]], turns: Turns) -> dict[str, Any]:
        outputs = await runs.run(record, None, turns)
        own_output = self._quantities(outputs[self._output_index])[0]
        coalitions = Coalitions(self._background, record, own_output)
        for number in range(coalitions.parts):
            part = await turns.call(coalitions.part, number)
            part_outputs: list[Values] = []
            for start in range(0, part.rows, self._max_run_rows):
                rows = part.columns(start, start + self._max_run_rows)
                part_outputs += map(self._quantities, await runs.run(rows, [self._output], turns))
            coalitions.put(part, part_outputs)
        feature_contributions = []
        for feature in range(len(record)):
            if coalitions.parts == 1:  # all of them together take no longer than a run
                feature_contributions.append(coalitions.contribution(feature))
            else:
                feature_contributions.append(await turns.call(coalitions.contribution, feature))
        return self._predict_row(outputs, 0) | self._members(coalitions.base().tolist(), feature_contributions)

    def _quantities(self, output: NDArray[Any]) -> Values:
        """Return the explained quantities of an output, shape [rows, quantities]."""
        rows = output.reshape(len(output), -1).astype(np.float64)
        return rows if self._class_index is None else rows[:, self._class_index : self._class_index + 1]

    def _members(self, base: list[float], feature_contributions: list[list[float]]) -> dict[str, Any]:
        """Return the explanation's members beside the prediction.

        With several classes, each member has one entry per class.
        """
        contributions = [dict(zip(self._names, each, strict=True)) for each in zip(*feature_contributions, strict=True)]
        if self._classes is None:
            return {"base": base[0], "contributions": contributions[0]}
        return {
            "base": dict(zip(self._classes, base, strict=True)),
            "contributions": dict(zip(self._classes, contributions, strict=True)),
        }


def _max_records(manifest: Manifest, settings: Settings) -> int:
    """Return the maximum number of records in one request."""
    features = len(manifest.features)
    if features > MAX_EXPLAINED_FEATURES:
        raise Unimplemented(
            f"{manifest.name} has {features} features; explanations support at most {MAX_EXPLAINED_FEATURES}"
        )
    if not manifest.background:
        raise Unimplemented(
            f"{manifest.name} version {manifest.version} has no background rows, which explanations require"
        )
    if manifest.explained_rows > settings.max_explain_rows:
        raise PayloadTooLarge(
            f"an explanation of one record runs {manifest.explained_rows} rows of the model; "
            f"expected at most {settings.max_explain_rows}"
        )
    return settings.max_explain_rows // manifest.explained_rows
