"""Format numbers and names for the card's text."""

import math
from collections.abc import Sequence
from typing import Final

from server.models.manifest import Feature, Scalar

NARROW: Final = "\u202f"
"""Narrow no-break space, used between thousands and before a percent sign."""
SCORES: Final = {
    "accuracy": ("Accuracy", "share of rows with the correct label; higher is better"),
    "roc_auc": ("ROC AUC", "how well the rows of a class rank above the others; higher is better"),
    "log_loss": ("Log loss", "penalty of the probabilities, largest if confident and wrong; lower is better"),
    "brier": ("Brier score", "mean squared error of the probabilities; lower is better"),
    "rmse": ("RMSE", "root of the mean squared error, in the target's unit; lower is better"),
    "mae": ("Mean absolute error", "mean size of the error, in the target's unit; lower is better"),
    "r2": ("R²", "share of the target's variance that the model explains; higher is better"),
}
"""Title and meaning of each score."""
_MAX_CHARACTERS: Final = 18
_NO_BREAK_SPACE: Final = "\u00a0"
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, digits: int = 3) -> str:
    """Return a number with `digits` significant digits.

    All digits of the integer part are shown, even if there are more.
    """
    if not math.isfinite(value):
        return str(value)
    if value == round(value) and abs(value) < 1e12:
        text = f"{int(value):,}"
    elif 1e-4 <= abs(value) < 1e12:
        text = f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    else:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        exponent = str(int(power)).translate(_SUPERSCRIPTS)
        text = f"{mantissa.rstrip('0').rstrip('.')}{_NO_BREAK_SPACE}×{_NO_BREAK_SPACE}10{exponent}"  # noqa: RUF001 # the times sign
    return text.replace(",", NARROW).replace("-", "−")  # noqa: RUF001 # the minus sign


def signed(value: float) -> str:
    """Return a number with its sign."""
    return f"+{number(value)}" if value > 0 else number(value)


def percent(share: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.1f}{NARROW}%"


def score(name: str, value: float) -> str:
    """Return the value of a score.

    Scores of about 0 to 1 have three decimal places.
    """
    if name == "accuracy":
        return percent(value)
    return number(value, 4) if name in {"rmse", "mae"} else f"{value:.3f}".replace("-", "−")  # noqa: RUF001


def between(name: str, ends: Sequence[float]) -> str:
    """Return the interval of a score."""
    if name == "accuracy":
        return f"{100 * ends[0]:.1f} to {percent(ends[1])}"
    return f"{score(name, ends[0])} to {score(name, ends[1])}"


def rows(count: int) -> str:
    """Return the number of rows with the word "row" or "rows"."""
    return f"{number(count)} row" if count == 1 else f"{number(count)} rows"


def join_names(names: Sequence[str], last: str = "and") -> str:
    """Return names separated by commas, with the word `last` before the last name."""
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else "".join(names)


def shorten(name: object, max_characters: int = _MAX_CHARACTERS) -> str:
    """Return a name on one line, truncated to `max_characters` to fit a plot."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in str(name)).split())
    return text if len(text) <= max_characters else f"{text[: max_characters - 1]}…"


def with_spaces(name: str) -> str:
    """Return a name from the manifest with spaces instead of underscores."""
    return name.replace("_", " ")


def value(scalar: Scalar) -> str:
    """Return a feature value as text."""
    if isinstance(scalar, bool):
        return "true" if scalar else "false"
    return number(scalar) if isinstance(scalar, int | float) else scalar or "(empty)"


def allowed_values(feature: Feature) -> str:
    """Return the allowed values of a feature as text, without null."""
    if feature.categories is not None:
        return join_names([value(each) for each in feature.categories], "or")
    if feature.datatype == "BOOL":
        return "true or false"
    if feature.datatype == "BYTES":
        return "any string"
    noun = "number" if feature.is_float else "whole number"
    low, high = feature.minimum, feature.maximum
    if low is not None and high is not None:
        return f"{number(low)} to {number(high)}"
    if low is not None:
        return f"{number(low)} or more"
    return f"any {noun}" if high is None else f"{number(high)} or less"
