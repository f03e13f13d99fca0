"""One version's folder to its Model, and whether the folder still holds what a Model was loaded from."""

import hashlib
import logging
import time
from pathlib import Path
from typing import Final

from server import manifest as manifests
from server.errors import ManifestError, ModelError
from server.manifest import MANIFEST_FILE, MODEL_FILE
from server.model import Model

CARD_FILE: Final = "card.html"
"""The model card that the exporter writes beside the model, where it does."""
ABSENT: Final = ""
"""The digest of a file that can't be read."""

_log = logging.getLogger("lifeboat.repository")


def load(path: Path) -> Model:
    """Load, check and warm the version in a folder.

    Raises ModelError, which names model and version, whatever is wrong: of what nobody foresaw the log has all.
    """
    started = time.perf_counter()
    try:
        model = Model.load(path)
        if (model.name, model.version) != (path.parent.name, path.name):
            raise ModelError(f"its manifest says {model.name} version {model.version}")
    except ModelError as error:
        raise type(error)(f"model {path.parent.name!r} version {path.name}: {error}") from error
    except Exception as error:
        reason = f"model {path.parent.name!r} version {path.name}: it can't be loaded; the log says more"
        _log.exception(reason)
        raise ModelError(reason) from error
    model.load_s = time.perf_counter() - started
    _log.info("model %s version %s ready in %.0f ms", model.name, model.version, model.load_s * 1e3)
    return model


def holds(path: Path, model: Model) -> bool:
    """Return whether a folder's manifest says what `model`'s says, and its model.onnx has the bytes it was loaded from.

    Read and digested anew: neither a time nor an inode is trusted, which network file systems may tell late.
    """
    try:
        manifest = manifests.read(path / MANIFEST_FILE)
    except ManifestError:
        return False
    if manifests.encode(manifest) != manifests.encode(model.manifest):  # as text: to Python 1, 1.0 and true are equal
        return False
    return _digest(path / MODEL_FILE) == manifest.sha256


def digest(path: Path) -> str:
    """Return what tells a folder that could not be served from one that was mended."""
    return " ".join(_digest(path / name) for name in (MANIFEST_FILE, MODEL_FILE))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ABSENT
