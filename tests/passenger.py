"""The passenger of the README that the tests use, and the model's inputs."""

from typing import Any, Final

PASSENGER: Final[dict[str, Any]] = {
    "pclass": 1,
    "sex": "female",
    "age": 29,
    "sibsp": 0,
    "parch": 0,
    "fare": 211.3375,
    "embarked": "S",
}

DATATYPES: Final = {
    "pclass": "INT64",
    "sex": "BYTES",
    "age": "FP32",
    "sibsp": "INT64",
    "parch": "INT64",
    "fare": "FP32",
    "embarked": "BYTES",
}
"""Open Inference Protocol datatype of each input, in the signature's order."""
