"""What is the Titanic model's own: its features, its target, its name. Nothing else in `export` knows a passenger."""

from pathlib import Path
from typing import Final

from export.data import Spec
from server.manifest import Feature

TITANIC: Final = Spec(
    name="titanic",
    description="Whether a passenger of the RMS Titanic survived, from what was known when she sailed.",
    data=Path(__file__).parent / "data" / "titanic.csv",
    target="survived",
    classes={0: "died", 1: "survived"},
    positive_class="survived",
    features=(
        Feature(
            name="pclass",
            datatype="INT64",
            categories=[1, 2, 3],
            description="Ticket class: 1 first, 2 second, 3 third.",
            example=1,
        ),
        Feature(
            name="sex",
            datatype="BYTES",
            categories=["female", "male"],
            description="Sex as the passenger list has it.",
            example="female",
        ),
        Feature(
            name="age",
            datatype="FP32",
            nullable=True,
            null_value="NaN",
            minimum=0.0,
            maximum=120.0,
            description="Age in years; a fraction below one year.",
            example=29.0,
        ),
        Feature(
            name="sibsp",
            datatype="INT64",
            minimum=0.0,
            description="Number of siblings and spouses aboard.",
            example=0,
        ),
        Feature(
            name="parch",
            datatype="INT64",
            minimum=0.0,
            description="Number of parents and children aboard.",
            example=0,
        ),
        Feature(
            name="fare",
            datatype="FP32",
            nullable=True,
            null_value="NaN",
            minimum=0.0,
            description="Price of the ticket in pounds of 1912.",
            example=211.3375,
        ),
        Feature(
            name="embarked",
            datatype="BYTES",
            nullable=True,
            null_value="",
            categories=["C", "Q", "S"],
            description="Port of embarkation: C Cherbourg, Q Queenstown, S Southampton.",
            example="S",
        ),
    ),
)
