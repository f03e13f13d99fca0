"""Predict a wine's cultivar: three classes, only floats, a name that is no identifier."""

from typing import Final

from export.spec import Feature, Spec

_COLUMNS: Final = {
    "alcohol": (13.0, 100.0, "Alcohol, per cent by volume."),
    "malic_acid": (1.71, 50.0, "Malic acid, g/l."),
    "ash": (2.43, 50.0, "Ash, g/l."),
    "alcalinity_of_ash": (15.6, 200.0, "Alcalinity of the ash, meq/l."),
    "magnesium": (127.0, 2000.0, "Magnesium, mg/l."),
    "total_phenols": (2.8, 50.0, "Phenols in all, g/l."),
    "flavanoids": (3.06, 50.0, "Flavanoids, g/l."),
    "nonflavanoid_phenols": (0.28, 50.0, "Other phenols, g/l."),
    "proanthocyanins": (2.29, 50.0, "Proanthocyanins, g/l."),
    "color_intensity": (5.64, 100.0, "Intensity of the colour."),
    "hue": (1.04, 10.0, "Hue."),
    "od280/od315_of_diluted_wines": (3.92, 20.0, "Absorbance of the diluted wine at 280 nm over that at 315 nm."),
    "proline": (1065.0, 20000.0, "Proline, mg/l."),
}

WINE: Final = Spec(
    name="wine",
    description="Which of three cultivars of one region a wine was made of, from its chemical analysis.",
    kind="multiclass",
    target="target",
    classes={0: "barolo", 1: "grignolino", 2: "barbera"},
    features=tuple(
        Feature(name=name, datatype="FP32", minimum=0.0, maximum=high, example=example, description=description)
        for name, (example, high, description) in _COLUMNS.items()
    ),
)
