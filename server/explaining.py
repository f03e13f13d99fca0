"""Records to explanations: one model version run on what explains them, a chunk at a time, between predictions.

Imported when the first explanation is asked for: a start never pays for it. The runs are the model's own and not its
queue's: they are no predictions, and whatever counts those never sees them.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from server.answers import answerer
from server.counters import Counters
from server.errors import PayloadTooLarge, Unimplemented
from server.manifest import MAX_EXPLAINED_FEATURES, Manifest
from server.model import Model
from server.records import RecordDecoder
from server.settings import Settings
from server.shapley import Background, Coalitions, Values
from server.signature import Outputs, Signature

MAX_RUN_ROWS: Final = 128
"""Rows of one run, 0.15 ms of trees: larger ones are hardly faster a row, and a prediction waits for one at most."""
_TURNS: Final = 3
"""Turns of the event loop between two runs: to read what has come, to have it queued, to run it and answer."""
P = ParamSpec("P")
T = TypeVar("T")


class _Runs:
    """Runs of one model version, counted."""

    def __init__(self, model: Model, names: Sequence[str], counters: Counters) -> None:
        self._model = model
        self._names = names
        self._counters = counters

    def __call__(self, columns: Sequence[NDArray[Any]], outputs: Sequence[str] | None) -> Outputs:
        """Run the rows of `columns`, one for each feature. Returns the outputs called so, or all."""
        began_ns = time.perf_counter_ns()
        found = [*self._model.run(dict(zip(self._names, columns, strict=True)), outputs).values()]
        self._counters.infer_ns += time.perf_counter_ns() - began_ns
        self._counters.runs += 1
        self._counters.rows += len(columns[0])
        return found


class Turns:
    """Lets one run at a time of all explanations have the event loop, and everybody else before the next."""

    def __init__(self) -> None:
        """Nobody runs."""
        self._one_at_a_time = asyncio.Lock()

    async def take(self, run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `run` returns, which is done at once. Who is cancelled in between runs no more."""
        async with self._one_at_a_time:
            ran = run(*args, **kwargs)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            return ran


class Explainer:
    """What explaining by one model version needs, worked out once. Holds no session."""

    def __init__(self, manifest: Manifest, signature: Signature, settings: Settings) -> None:
        """Raise Unimplemented for a model that can't be explained, PayloadTooLarge where not one record may be."""
        max_records = min(settings.max_rows, _max_records(manifest, settings))
        records = RecordDecoder(signature, max_records, settings.max_string_bytes, settings.max_json_depth)
        self.decode = records.decode
        """Body to columns, and whether it was a list of records; raises RequestError."""
        self._columns = signature.columns
        self._names = [column.feature.name for column in signature.columns]
        self._background = Background([*signature.from_records(manifest.background).values()])
        self._max_run_rows = min(settings.max_batch_rows, MAX_RUN_ROWS)
        self._answer = answerer(manifest)
        explained = manifest.output("value" if manifest.kind == "regression" else "probabilities")
        self._output = explained.name
        self._place = manifest.outputs.index(explained)
        self._positive = manifest.classes.index(str(manifest.positive_class)) if manifest.kind == "binary" else None
        self._classes = manifest.classes if manifest.kind == "multiclass" else None

    async def explain(
        self, model: Model, columns: Sequence[Any], turns: Turns, counters: Counters
    ) -> list[dict[str, Any]]:
        """Return the answer of each record and what it is made of, by `model`, which this was made for.

        `columns` holds each feature's values, as `decode` returned them. What is run is counted in `counters`.
        """
        arrays = [column.array(values) for column, values in zip(self._columns, columns, strict=True)]
        records = [[array[row : row + 1] for array in arrays] for row in range(len(arrays[0]))]
        return [await self._explain(_Runs(model, self._names, counters), record, turns) for record in records]

    async def _explain(self, runs: "_Runs", record: list[NDArray[Any]], turns: Turns) -> dict[str, Any]:
        outputs = await turns.take(runs, record, None)
        answer = self._quantities(outputs[self._place])[0]
        coalitions = Coalitions(self._background, record, answer)
        for number in range(coalitions.parts):
            part = await turns.take(coalitions.part, number)
            answers: list[Values] = []
            for start in range(0, part.rows, self._max_run_rows):
                rows = part.columns(start, start + self._max_run_rows)
                answers += map(self._quantities, await turns.take(runs, rows, [self._output]))
            coalitions.put(part, answers)
        shares = []
        for feature in range(len(record)):
            if coalitions.parts == 1:  # all of them together take no longer than a run
                shares.append(coalitions.contribution(feature))
            else:
                shares.append(await turns.take(coalitions.contribution, feature))
        return self._answer(outputs, 0) | self._members(coalitions.base().tolist(), shares)

    def _quantities(self, output: NDArray[Any]) -> Values:
        """Return what is explained of an output, shape [rows, quantities]."""
        rows = output.reshape(len(output), -1).astype(np.float64)
        return rows if self._positive is None else rows[:, self._positive : self._positive + 1]

    def _members(self, base: list[float], shares: list[list[float]]) -> dict[str, Any]:
        """Return what an explanation has beside the answer: of several classes one for each."""
        contributions = [dict(zip(self._names, each, strict=True)) for each in zip(*shares, strict=True)]
        if self._classes is None:
            return {"base": base[0], "contributions": contributions[0]}
        return {
            "base": dict(zip(self._classes, base, strict=True)),
            "contributions": dict(zip(self._classes, contributions, strict=True)),
        }


def _max_records(manifest: Manifest, settings: Settings) -> int:
    """Return how many records one request may have."""
    features = len(manifest.features)
    if features > MAX_EXPLAINED_FEATURES:
        raise Unimplemented(
            f"{manifest.name} has {features} features; answers are explained of at most {MAX_EXPLAINED_FEATURES}"
        )
    if not manifest.background:
        raise Unimplemented(
            f"{manifest.name} version {manifest.version} has no background rows to explain its answers against"
        )
    if manifest.explained_rows > settings.max_explain_rows:
        raise PayloadTooLarge(
            f"to explain a record takes {manifest.explained_rows} rows of the model; "
            f"expected at most {settings.max_explain_rows}"
        )
    return settings.max_explain_rows // manifest.explained_rows
