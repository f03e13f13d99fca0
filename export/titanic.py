"""Predict Titanic passenger survival: the model's spec.

All other modules in `export` are independent of this data set.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from export.spec import Feature, Spec, pipeline


def candidates(features: Sequence[Feature], seed: int) -> dict[str, Pipeline]:
    """Return the candidate pipelines by name."""
    return {
        "logistic_regression": pipeline(features, LogisticRegression(max_iter=2000)),
        "random_forest": pipeline(
            features, RandomForestClassifier(100, min_samples_leaf=3, max_features=0.5, random_state=seed)
        ),
        "gradient_boosting": pipeline(
            features,
            GradientBoostingClassifier(
                n_estimators=150, learning_rate=0.05, max_depth=3, subsample=0.7, random_state=seed
            ),
        ),
        "hist_gradient_boosting": pipeline(
            features,
            HistGradientBoostingClassifier(
                max_iter=100, learning_rate=0.05, max_leaf_nodes=15, early_stopping=False, random_state=seed
            ),
        ),
    }


TITANIC: Final = Spec(
    name="titanic",
    description="Predict Titanic passenger survival from data known at departure.",
    kind="binary",
    data=Path(__file__).parent / "data" / "titanic.csv",
    openml=40945,
    candidates=candidates,
    target="survived",
    classes={0: "died", 1: "survived"},
    positive_class="survived",
    limits=(
        "The model describes the passengers of one ship in 1912. It does not apply to other voyages or people today.",
        "The data do not include the crew. The fate of some passengers was disputed.",
        "Sex and class have the most weight, because they decided who got into a lifeboat: history, not a rule.",
        "The age of a fifth of the passengers is missing. A missing age is replaced by the median age.",
    ),
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
            description="Sex, as recorded in the passenger list.",
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
