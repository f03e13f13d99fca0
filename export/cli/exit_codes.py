"""Map errors to exit codes."""

from typing import Final

from export.conversion.convert import ConvertError
from export.conversion.verify import ParityError
from export.data.dataset import DataError
from export.pipeline.artifacts import WorkError
from export.registry.labels import LabelError
from export.spec import SpecError
from export.training.gate import WorseError
from export.training.train import TrainError
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
EXPECTED_ERRORS: Final = tuple(_CODES)


def code_of(error: Exception) -> int:
    """Return the exit code of an expected error."""
    return next(code for kind, code in _CODES.items() if isinstance(error, kind))
