"""Model card of a published version: an HTML page with scores, data and limits."""

from export.data.dataset import Dataset, Split
from server.models.manifest import Manifest
from server.models.session import Model


def card(manifest: Manifest, model: Model, data: Dataset, part: Split) -> bytes:
    """Return the HTML page in UTF-8, the same bytes for the same arguments.

    The page has no scripts and no external resources. `model` computes every prediction on the page. `part` is `data`,
    split in the same way as for the training.
    """
    from export.card.page import page  # imported here: importing matplotlib takes longer than most commands

    return page(manifest, model, data, part)
