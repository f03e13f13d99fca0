"""Encode output tensors as predictions, for each kind of model."""

from collections.abc import Callable
from typing import Any

from server.models.manifest import Manifest, Role
from server.models.signature import Outputs

Prediction = dict[str, Any]
"""Fields of a prediction by kind of model.

- binary: label, probability (of the positive class), probabilities
- multiclass: label, probabilities
- regression: value
"""


def prediction_encoder(manifest: Manifest) -> Callable[[Outputs, int], Prediction]:
    """Return the function that turns one row of a model's outputs into a prediction.

    Numbers are the model's own, widened to double precision without loss.
    """
    if manifest.kind == "regression":
        value = _index(manifest, "value")
        return lambda outputs, row: {"value": outputs[value].item(row)}
    label, probabilities = _index(manifest, "label"), _index(manifest, "probabilities")
    classes = manifest.classes
    if manifest.kind == "multiclass":
        return lambda outputs, row: {
            "label": outputs[label].item(row),
            "probabilities": dict(zip(classes, outputs[probabilities][row].tolist(), strict=True)),
        }
    positive = classes.index(str(manifest.positive_class))

    def encode(outputs: Outputs, row: int) -> Prediction:
        numbers = outputs[probabilities][row].tolist()
        by_class = dict(zip(classes, numbers, strict=True))
        return {"label": outputs[label].item(row), "probability": numbers[positive], "probabilities": by_class}

    return encode


def _index(manifest: Manifest, role: Role) -> int:
    return manifest.outputs.index(manifest.output(role))
