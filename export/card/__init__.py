"""The model card."""

from export.data import Dataset, Split
from server.manifest import Manifest
from server.model import Model


def card(manifest: Manifest, model: Model, data: Dataset, part: Split) -> bytes:
    """Return the page."""
    return b""
