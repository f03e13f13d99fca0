"""HTML form fields from a model's signature; the submitted form is a prediction query.

Each field has `data-` attributes for the script that builds the record: the datatype, whether null is allowed, and the
range of its curve.
"""

import math
from collections.abc import Mapping
from html import escape
from typing import Final

from server.codecs.query import empty_is_null
from server.models.manifest import Feature, Manifest, Scalar
from server.models.signature import Column
from server.models.training_metadata import Distribution

MAX_RADIOS: Final = 5
"""Maximum number of choices to show as radio buttons; more become a select list."""
UNKNOWN: Final = "unknown"
_EXACT: Final = 2**53
"""Largest integer that a browser's number field represents exactly."""


def fields(manifest: Manifest) -> str:
    """Return the form fields of all features, with the example values as defaults."""
    return "\n".join(_field(f"f{index}", Column.of(each), manifest) for index, each in enumerate(manifest.features))


def _field(key: str, column: Column, manifest: Manifest) -> str:
    feature = column.feature
    data_attributes = {
        "data-feature": feature.name,
        "data-datatype": feature.datatype,
        "data-nullable": "true" if feature.nullable else None,
    }
    help_text = f'<p class="help" id="{key}-help">{escape(feature.description)}</p>'
    error = f'<p class="error" id="{key}-error" hidden></p>'
    choices = _choices(column)
    if choices is not None and len(choices) <= MAX_RADIOS:
        attributes = _attributes({"class": "field", "aria-describedby": f"{key}-help {key}-error", **data_attributes})
        radios = _radios(key, feature, choices)
        return f"<fieldset{attributes}><legend>{_label(feature)}</legend>{help_text}{radios}{error}</fieldset>"
    if choices is None and _has_curve(feature):
        low, high = curve_range(column, manifest)
        data_attributes |= {"data-low": format_value(low), "data-high": format_value(high)}
    attributes = _attributes({"class": "field", **data_attributes})
    control = _select(key, feature, choices) if choices is not None else _input(key, column)
    return f'<div{attributes}><label for="{key}">{_label(feature)}</label>{help_text}{control}{error}</div>'


def _choices(column: Column) -> list[tuple[str, str]] | None:
    """Return the value and label of each choice; None if the feature needs an input.

    The empty value is null.
    """
    feature = column.feature
    if feature.datatype == "BOOL":
        options = [("true", "true"), ("false", "false")]
    elif feature.categories is not None:
        options = [(format_value(each), format_value(each)) for each in feature.categories]
    else:
        return None
    return [*options, ("", UNKNOWN)] if empty_is_null(column) else options


def _radios(key: str, feature: Feature, choices: list[tuple[str, str]]) -> str:
    parts = []
    for index, (value, label) in enumerate(choices):
        attributes = {"type": "radio", "name": feature.name, "id": f"{key}-{index}", "value": value}
        selection = " checked" if value == format_value(feature.example) else ""
        parts.append(f"<label><input{_attributes(attributes)}{selection}><span>{escape(label)}</span></label>")
    return f'<div class="choices">{"".join(parts)}</div>'


def _select(key: str, feature: Feature, choices: list[tuple[str, str]]) -> str:
    attributes = {"id": key, "name": feature.name, "aria-describedby": f"{key}-help {key}-error"}
    parts = []
    for value, label in choices:
        selection = " selected" if value == format_value(feature.example) else ""
        parts.append(f'<option value="{escape(value)}"{selection}>{escape(label)}</option>')
    return f"<select{_attributes(attributes)}>{''.join(parts)}</select>"


def _input(key: str, column: Column) -> str:
    """Return an input field.

    A form cannot omit a text field, so a nullable one has a hidden checkbox for null, which a script shows.
    """
    feature = column.feature
    attributes: dict[str, str | None] = {
        "id": key,
        "name": feature.name,
        "value": format_value(feature.example),
        "aria-describedby": f"{key}-help {key}-error",
        "autocomplete": "off",
        "placeholder": UNKNOWN if empty_is_null(column) else None,
    }
    if feature.datatype == "BYTES":
        null = f'<label class="null" hidden><input type="checkbox" id="{key}-null"><span>{UNKNOWN}</span></label>'
        return f'<input type="text"{_attributes(attributes)}>{null if feature.nullable else ""}'
    minimum, maximum = _limits(column)
    attributes |= {"min": minimum, "max": maximum, "step": "any" if feature.is_float else "1"}
    attributes |= {"inputmode": "decimal" if feature.is_float else "numeric"}
    if feature.minimum is None or feature.minimum < 0:
        attributes["inputmode"] = None  # a phone's numeric keypad has no minus key
    required = "" if feature.nullable else " required"
    return f'<input type="number"{_attributes(attributes)}{required}>'


def _limits(column: Column) -> tuple[str | None, str | None]:
    """Return the minimum and maximum of a number field, or None where not useful.

    The limits of a float datatype are omitted, because they mean nothing to a user. So are limits that a browser's
    number field does not represent exactly.
    """
    feature = column.feature
    if feature.is_float:
        limits: tuple[float | int | None, float | int | None] = (feature.minimum, feature.maximum)
    else:
        limits = (column.low, column.high)
    low, high = (None if end is None or abs(end) >= _EXACT else format_value(end) for end in limits)
    return low, high


def _has_curve(feature: Feature) -> bool:
    return feature.categories is None and feature.datatype not in {"BOOL", "BYTES"}


def curve_range(column: Column, manifest: Manifest) -> tuple[float, float]:
    """Return the range of a feature's curve.

    It is the range of the training rows, extended by its own width on each side.
    """
    feature = column.feature
    reference = None if manifest.reference is None else manifest.reference.features.get(feature.name)
    low, high = _extended_range(reference) if reference is not None and reference.edges else _default_range(feature)
    if not feature.is_float:
        low, high = math.floor(low), max(math.ceil(high), math.floor(low) + 5)
    minimum, maximum = column.low, column.high
    low = low if minimum is None else max(low, minimum)
    high = high if maximum is None else min(high, maximum)
    return (low, high) if low < high else (minimum or 0.0, maximum or 1.0)


def _extended_range(reference: Distribution) -> tuple[float, float]:
    edges = reference.edges or [0.0]
    span = edges[-1] - edges[0] or 1.0
    return edges[0] - span, edges[-1] + span


def _default_range(feature: Feature) -> tuple[float, float]:
    if feature.minimum is not None and feature.maximum is not None:
        return feature.minimum, feature.maximum
    middle = float(feature.example)
    return middle - (abs(middle) or 10), middle + (abs(middle) or 10)


def _label(feature: Feature) -> str:
    return escape(feature.name.replace("_", " "))


def format_value(value: Scalar) -> str:
    """Return a value as text for JSON and queries, strings unquoted: 29, 0.5, true, female."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value)


def _attributes(attributes: Mapping[str, str | None]) -> str:
    return "".join(f' {name}="{escape(value)}"' for name, value in attributes.items() if value is not None)
