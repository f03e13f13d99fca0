"""Minimal models that multiply x by a factor, published quickly."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from export.registry.publish import Publication, PublicationOptions
from export.registry.publish import publish as publish_model
from server.models.manifest import Manifest
from server.models.repository import Repository
from server.models.session import Model
from tests.server.support import small

NAME: Final = "small"
PROMOTED: Final = PublicationOptions(promote=True)


@functools.cache
def model(factor: float) -> bytes:
    """Return a model.onnx that returns `factor` times x."""
    return small.onnx_bytes(
        f"g (float[N, 1] x) => (float[N, 1] value) <float[1] factor = {{{factor}}}> {{ value = Mul(x, factor) }}"
    )


def describing(factor: float, **members: Any) -> Callable[[int], Manifest]:  # noqa: ANN401 # any type
    """Return a function that makes the model's manifest for any version."""
    made = model(factor)
    return lambda version: small.manifest(made, answers=[(1.0, factor)], version=version, **members)


def publish(root: Path, factor: float, options: PublicationOptions = PROMOTED, **members: Any) -> Publication:  # noqa: ANN401 # the same
    """Publish the model of this factor, as stable by default."""
    return publish_model(root, NAME, model(factor), describing(factor, **members), options)


def factor_of(served: Model) -> float:
    """Return the factor of a loaded model."""
    return float(served.run({"x": np.ones((1, 1), np.float32)})["value"][0, 0])


def stable_factor(root: Path) -> float:
    """Return the factor of the model that a server of the repository uses by default."""
    return factor_of(Repository.load(root, NAME).resolve())


def files(home: Path) -> dict[str, bytes]:
    """Return every file below a folder, including dot files, by its relative path."""
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def damage(home: Path, version: int) -> None:
    """Change one byte of a version's model.onnx."""
    path = home / str(version) / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
