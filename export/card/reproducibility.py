"""Show the proof of parity, and how to reproduce the model."""

import shlex

from export.card.card_data import Subject
from export.card.formatting import number, rows
from export.card.html import Markup, code, element, facts, join, paragraph, table
from export.titanic import TITANIC


def parity(subject: Subject) -> Markup:
    """Return the parity with scikit-learn, and the effect of batches on predictions."""
    manifest_parity, manifest = subject.manifest.parity, subject.manifest
    label_text = (
        "No label differed"
        if manifest_parity.label_flips == 0
        else f"{number(manifest_parity.label_flips)} labels differed"
    )
    start = f"{label_text}, and no probability" if manifest.classes else "No value differed"
    text = (
        f"Before publication, the predictions of this ONNX model and of its scikit-learn pipeline were compared on "
        f"{rows(manifest_parity.rows)}. {start} by more than {number(manifest_parity.max_abs_difference)}; "
        f"the tolerance is {number(manifest_parity.tolerance)}."
    )
    data_rows = manifest_parity.rows - manifest_parity.edge_rows - manifest_parity.threshold_rows
    if manifest.min_batch_rows == 1:
        batch_text = "The prediction for a row has the same bits alone and in any batch."
    else:
        batch_text = (
            f"The server pads a batch to {manifest.min_batch_rows} rows, so that the prediction for a row has the same "
            "bits alone and in any batch."
        )
    split = facts(
        [
            ("Rows of data", number(data_rows)),
            (
                "Edge cases of the signature",
                f"{number(manifest_parity.edge_rows)}: nulls, categories, limits, tiny and huge numbers",
            ),
            (
                "Around split thresholds",
                f"{number(manifest_parity.threshold_rows)}: the thresholds of trees, and the nearest numbers",
            ),
            *([("Labels that differ", number(manifest_parity.label_flips))] if manifest.classes else []),
            ("Largest difference", number(manifest_parity.max_abs_difference)),
            ("Tolerance", number(manifest_parity.tolerance)),
        ]
    )
    return join(paragraph(text), split, paragraph(batch_text))


def reproduce(subject: Subject) -> Markup:
    """Return the command, the requirements for identical bytes, and the digests to compare."""
    provenance = subject.manifest.provenance
    digests = facts(
        [
            ("Recipe", code(provenance.recipe or "not recorded")),
            ("SHA-256 of model.onnx", code(subject.manifest.sha256)),
            ("CPU", provenance.cpu or "not recorded"),
            (
                "ONNX",
                f"IR {provenance.ir_version}; opsets " + ", ".join(f"{k} {v}" for k, v in provenance.opsets.items()),
            ),
        ]
    )
    versions = table("Versions", ["Library", "Version"], [[name, each] for name, each in provenance.versions.items()])
    return join(
        element("pre", code(command(subject)), tabindex="0"),
        paragraph(
            "The same data, spec, seed, versions and type of CPU give the same bytes; other CPUs may round differently."
        ),
        digests,
        versions,
    )


def command(subject: Subject) -> str:
    """Return the command line that reproduces this model."""
    provenance = subject.manifest.provenance
    spec_option = [] if subject.manifest.name == TITANIC.name else ["--spec", f"{subject.manifest.name}.py"]
    is_openml = provenance.dataset.startswith("openml-")
    data = ["--openml"] if is_openml else ["--data", provenance.dataset]
    return shlex.join(["python", "-m", "export", "run", *spec_option, *data, "--seed", str(provenance.seed)])
