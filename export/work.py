"""What one step leaves for the next when each is a command of its own: files in a work folder."""

from pathlib import Path
from typing import Final, TypeVar

import joblib

T = TypeVar("T")
TRAINED: Final = "trained.joblib"
CANDIDATE: Final = "candidate.joblib"


class WorkError(Exception):
    """The step before was not taken, or what it left is of no use any more; the message says which to take."""


def leave(folder: Path, file: str, value: object) -> Path:
    """Write what a step found. Returns where. A later step's leavings are removed: they are of another model."""
    folder.mkdir(parents=True, exist_ok=True)
    if file == TRAINED:
        (folder / CANDIDATE).unlink(missing_ok=True)
    beside = folder / f".{file}"
    joblib.dump(value, beside)
    beside.replace(folder / file)
    return folder / file


def find(folder: Path, file: str, kind: type[T], step: str) -> T:
    """Return what the step before left. Raises WorkError, naming that step, where it left nothing of use.

    The file is a pickle: it is to be trusted as the work folder is.
    """
    try:
        found = joblib.load(folder / file)
    except FileNotFoundError:
        raise WorkError(f"{folder / file} is not there; first: python -m export {step}") from None
    except Exception as error:  # a pickle may fail in any way when a library has changed
        raise WorkError(
            f"{folder / file} can't be read ({type(error).__name__}); again: python -m export {step}"
        ) from error
    if not isinstance(found, kind):
        raise WorkError(f"{folder / file} is of another version; again: python -m export {step}")
    return found
