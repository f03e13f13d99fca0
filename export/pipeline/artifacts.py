"""Store the results of steps in a work folder, for commands that run one step."""

from pathlib import Path
from typing import Final, TypeVar

import joblib

T = TypeVar("T")
TRAINED: Final = "trained.joblib"
CANDIDATE: Final = "candidate.joblib"


class WorkError(Exception):
    """Error for a missing or unusable step result; the message names the step to run."""


def save(folder: Path, file: str, value: object) -> Path:
    """Write the result of a step and return the path of the file.

    Writing a training result removes the candidate file, which belongs to another model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if file == TRAINED:
        (folder / CANDIDATE).unlink(missing_ok=True)
    temporary = folder / f".{file}"
    joblib.dump(value, temporary)
    temporary.replace(folder / file)
    return folder / file


def load_result(folder: Path, file: str, kind: type[T], step: str) -> T:
    """Return the result of an earlier step from the work folder.

    Raises WorkError, naming that step, if the file is missing or unusable. The file is a pickle, so load it only from a
    trusted work folder.
    """
    try:
        result = joblib.load(folder / file)
    except FileNotFoundError:
        raise WorkError(f"{folder / file} does not exist; run first: python -m export {step}") from None
    except Exception as error:  # unpickling can raise any exception after a library changed
        raise WorkError(
            f"{folder / file} can't be read ({type(error).__name__}); run again: python -m export {step}"
        ) from error
    if not isinstance(result, kind):
        raise WorkError(
            f"{folder / file} was written by another version of this program; run again: python -m export {step}"
        )
    return result
