"""Request bytes to answer bytes: the inference server that the container runs."""

from typing import Final

VERSION: Final = "0.1.0"
"""The project's version, as pyproject.toml has it."""
