"""A published version and its data to its model card: one HTML page that shows what the model knows and doesn't."""

from export.data import Dataset, Split
from server.manifest import Manifest
from server.model import Model


def card(manifest: Manifest, model: Model, data: Dataset, part: Split) -> bytes:
    """Return the page, UTF-8: no script, nothing from outside, and the same bytes for the same arguments.

    `model` gives every answer that is shown; `part` is `data`, split as it was for the training.
    """
    from export.card.page import page  # here: matplotlib takes longer to import than most commands to run

    return page(manifest, model, data, part)
