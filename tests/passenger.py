"""The passenger that every test asks about: the README's own."""

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
