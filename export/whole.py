"""A version's folder to its Model, where a server would serve it."""

from pathlib import Path

from server.errors import ModelError
from server.model import Model


def load(home: Path, version: int) -> Model:
    """Load, check and warm a version of the model whose folder is `home`.

    Raises ModelError where no server would serve it; what is another's folder, copied or renamed, is refused too.
    """
    model = Model.load(home / str(version))
    check(model, home.name, version)
    return model


def check(model: Model, name: str, version: int) -> None:
    """Raise ModelError where a model says that it is another version, or another model's."""
    if (model.name, model.version) != (name, str(version)):
        raise ModelError(f"its manifest says {model.name} version {model.version}; expected {name} version {version}")
