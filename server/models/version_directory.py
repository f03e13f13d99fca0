"""One version's folder: its load to a Model, and the detection of changes."""

import logging
import time
from pathlib import Path
from typing import Final

from server.errors import ModelError
from server.models import regular_file
from server.models.digest_file import DIGEST_FILE, MAX_BYTES
from server.models.load_limits import LoadLimits
from server.models.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES, MODEL_FILE
from server.models.session import Cancellation, Model

CARD_FILE: Final = "card.html"
"""The optional model card that the exporter writes beside the model."""
MAX_CARD_BYTES: Final = 64 * 1024 * 1024
ABSENT: Final = ""
"""The digest of a file that can't be read."""

_log = logging.getLogger("lifeboat.repository")
_LIMITS: Final = LoadLimits()


def load(path: Path, limits: LoadLimits = _LIMITS) -> Model:
    """Load, check and warm the version in a folder, within `limits`.

    Raises ModelError, which names model and version, for every error; the log has the details of unexpected errors.
    """
    start_s = time.perf_counter()

    def read(cancellation: Cancellation) -> Model:
        return Model.load(path, limits.max_model_bytes, limits.runs, cancellation)

    try:
        model = limits.load(read)
        if (model.name, model.version) != (path.parent.name, path.name):
            raise ModelError(f"its manifest says {model.name} version {model.version}")
    except ModelError as error:
        raise type(error)(f"model {path.parent.name!r} version {path.name}: {error}") from error
    except Exception as error:
        reason = f"model {path.parent.name!r} version {path.name}: it can't be loaded; see the server's log"
        _log.exception(reason)
        raise ModelError(reason) from error
    model.load_s = time.perf_counter() - start_s
    digest_note = "" if model.has_digest_file else f"; it has no {DIGEST_FILE}: only {MODEL_FILE} was checked by digest"
    _log.info("model %s version %s ready in %.0f ms%s", model.name, model.version, model.load_s * 1e3, digest_note)
    return model


def digest(path: Path, limits: LoadLimits = _LIMITS) -> str:
    """Return the digests of the files that a Model is loaded from, to detect changes.

    The files are read each time: network file systems may report times and inodes late.
    """
    files = {MANIFEST_FILE: MAX_MANIFEST_BYTES, MODEL_FILE: limits.max_model_bytes, DIGEST_FILE: MAX_BYTES}
    digests = [_digest(path / name, max_bytes) for name, max_bytes in files.items()]
    return " ".join(digests).rstrip()


def _digest(path: Path, max_bytes: int) -> str:
    try:
        return regular_file.digest(path, max_bytes)
    except OSError:
        return ABSENT
