"""Output tensors to answers: what a prediction says, for each kind of model."""

from collections.abc import Callable, Iterable
from typing import Any

from server.manifest import Manifest, Role
from server.signature import Outputs

Answer = dict[str, Any]
"""binary: label, probability (the positive class's), probabilities; multiclass: the same without probability;
regression: value."""


def answerer(manifest: Manifest) -> Callable[[Outputs, int, int], list[Answer]]:
    """Return the function that turns the rows from one number up to another of a model's outputs into their answers.

    Numbers are the model's own, widened to double precision: every bit of them can be read back.
    """
    if manifest.kind == "regression":
        value = _index(manifest, "value")
        return lambda outputs, start, stop: [
            {"value": number} for number in outputs[value][start:stop].reshape(-1).tolist()
        ]
    label, probabilities = _index(manifest, "label"), _index(manifest, "probabilities")
    classes = manifest.classes

    def rows(outputs: Outputs, start: int, stop: int) -> Iterable[tuple[str, list[float]]]:
        names, numbers = outputs[label][start:stop].tolist(), outputs[probabilities][start:stop].tolist()
        return zip(names, numbers, strict=True)

    if manifest.kind == "multiclass":
        return lambda outputs, start, stop: [
            {"label": name, "probabilities": dict(zip(classes, row, strict=True))}
            for name, row in rows(outputs, start, stop)
        ]
    positive = classes.index(str(manifest.positive_class))
    return lambda outputs, start, stop: [
        {"label": name, "probability": row[positive], "probabilities": dict(zip(classes, row, strict=True))}
        for name, row in rows(outputs, start, stop)
    ]


def _index(manifest: Manifest, role: Role) -> int:
    return manifest.outputs.index(manifest.output(role))
