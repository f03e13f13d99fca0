"""The inference server that the container runs."""

from typing import Final

VERSION: Final = "0.1.0"
"""The project's version, the same as in pyproject.toml."""
