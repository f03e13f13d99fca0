"""Predict the progression of diabetes after a year: a regression with an integer category."""

from typing import Final

from export.spec import Feature, Spec

_RANGES: Final = {
    "age": (59.0, 0.0, 120.0, "Age in years."),
    "bmi": (32.1, 5.0, 200.0, "Body mass index, kg/m2."),
    "bp": (101.0, 20.0, 300.0, "Mean arterial pressure, mmHg."),
    "s1": (157.0, 0.0, 2000.0, "Total serum cholesterol, mg/dl."),
    "s2": (93.2, 0.0, 2000.0, "Low-density lipoproteins, mg/dl."),
    "s3": (38.0, 0.0, 500.0, "High-density lipoproteins, mg/dl."),
    "s4": (4.0, 0.0, 100.0, "Total cholesterol over high-density lipoproteins."),
    "s5": (4.8598, 0.0, 20.0, "Logarithm of the serum triglycerides level."),
    "s6": (87.0, 0.0, 2000.0, "Blood sugar, mg/dl."),
}

DIABETES: Final = Spec(
    name="diabetes",
    description="A measure of how far diabetes has gone on one year after the examination.",
    kind="regression",
    target="target",
    features=(
        Feature(name="sex", datatype="INT64", categories=[1, 2], example=2, description="Sex, as the study coded it."),
        *(
            Feature(name=name, datatype="FP32", minimum=low, maximum=high, example=example, description=description)
            for name, (example, low, high, description) in _RANGES.items()
        ),
    ),
)
