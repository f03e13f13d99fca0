"""What may refuse a command, to its exit code."""

from typing import Final

from export.convert import ConvertError
from export.data import DataError
from export.gate import WorseError
from export.labels import LabelError
from export.spec import SpecError
from export.train import TrainError
from export.verify import ParityError
from export.work import WorkError
from server.errors import ModelError

_CODES: Final[dict[type[Exception], int]] = {
    SpecError: 1,
    DataError: 1,
    TrainError: 1,
    ConvertError: 1,
    LabelError: 1,
    WorkError: 1,
    ModelError: 1,
    OSError: 1,
    ParityError: 3,
    WorseError: 4,
}
REFUSALS: Final = tuple(_CODES)


def code_of(error: Exception) -> int:
    """Return the exit code of a refusal."""
    return next(code for kind, code in _CODES.items() if isinstance(error, kind))
