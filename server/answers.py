"""Output tensors to answers: what a prediction says, for each kind of model."""

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from server.manifest import Manifest

Answer = dict[str, Any]
"""binary: label, probability (the positive class's), probabilities; multiclass: the same without probability;
regression: value."""

Outputs = Mapping[str, NDArray[Any]]


def answerer(manifest: Manifest) -> Callable[[Outputs], list[Answer]]:
    """Return the function that turns a model's outputs, rows first, into one answer a row.

    Numbers are the model's own, widened to double precision: every bit of them can be read back.
    """
    if manifest.kind == "regression":
        value = manifest.output("value").name
        return lambda outputs: [{"value": number} for number in outputs[value].reshape(-1).tolist()]
    label, probabilities = manifest.output("label").name, manifest.output("probabilities").name
    classes = manifest.classes
    if manifest.kind == "multiclass":
        return lambda outputs: [
            {"label": name, "probabilities": dict(zip(classes, row, strict=True))}
            for name, row in zip(outputs[label].tolist(), outputs[probabilities].tolist(), strict=True)
        ]
    positive = classes.index(str(manifest.positive_class))
    return lambda outputs: [
        {"label": name, "probability": row[positive], "probabilities": dict(zip(classes, row, strict=True))}
        for name, row in zip(outputs[label].tolist(), outputs[probabilities].tolist(), strict=True)
    ]
