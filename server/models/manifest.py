"""manifest.json: the contract between `export` and the server, from which every interface is derived.

The exporter writes this file beside model.onnx, and the server reads it. Both use the types below, so that they cannot
diverge. Unknown members are ignored, so that an older server can read a newer exporter's additions. A change that an
older server must not read increments FORMAT.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from server.errors import ManifestError
from server.models import regular_file, strict_json
from server.models.quoting import quoted, quoted_value
from server.models.training_metadata import Comparison, Metrics, Provenance, Reference

FORMAT: Final = 1
MODEL_FILE: Final = "model.onnx"
MANIFEST_FILE: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 8 * 1024 * 1024
MAX_BACKGROUND_ROWS: Final = 32
MAX_EXPLAINED_FEATURES: Final = 12
"""Maximum features of a model with explanations: each further feature doubles the rows to run."""
MAX_FIELD_NUMBER: Final = 2**29 - 1
RESERVED_FIELD_NUMBERS: Final = range(19_000, 20_000)
"""Reserved by protobuf; "Assigning Field Numbers" in the language guide defines both limits."""

Datatype = Literal[
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "FP32", "FP64", "BYTES"
]
"""Datatype names of the Open Inference Protocol; BYTES is a UTF-8 string."""

PROTOBUF_TYPES: Final[Mapping[Datatype, str]] = {
    "BOOL": "bool",
    "INT8": "int32",
    "INT16": "int32",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint32",
    "UINT16": "uint32",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "FP16": "float",
    "FP32": "float",
    "FP64": "double",
    "BYTES": "string",
}
"""Scalar type of a feature's field in the typed messages.

It is protobuf's narrowest type that holds the datatype.
"""

Kind = Literal["binary", "multiclass", "regression"]
Role = Literal["label", "probabilities", "value"]
Scalar = bool | int | float | str


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One input column of the model, shape [rows, 1]."""

    name: str
    datatype: Datatype
    description: str
    example: Scalar
    field_number: int = 0
    """Field number of the feature in the typed RPC messages, from 1.

    It stays the same in all versions of one `api_version`. 0 if it is not set yet: the exporter numbers the features
    when it publishes them.
    """
    nullable: bool = False
    null_value: Scalar | None = None
    """The model's input for null: "NaN" for floats (JSON has no NaN).

    For other datatypes it is a value that no real row can have.
    """
    categories: list[str | int] | None = None
    """The only allowed values, if the feature is categorical."""
    minimum: float | None = None
    maximum: float | None = None
    """The range of possible values, not of observed values; both ends included."""

    @property
    def is_float(self) -> bool:
        """Whether the column holds floating-point numbers."""
        return self.datatype.startswith("FP")

    @property
    def null(self) -> Scalar | None:
        """The model's input value for null, NaN for "NaN"."""
        return math.nan if self.is_float and self.null_value == "NaN" else self.null_value


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """One output tensor; `role` is its part in the response."""

    name: str
    datatype: Datatype
    shape: list[int]
    """-1 stands for the number of rows."""
    role: Role


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """Differences between the outputs of onnxruntime and scikit-learn at verification."""

    rows: int
    """Rows compared: all data, the signature's limits, and rows around the trees' split thresholds."""
    label_flips: int
    max_abs_difference: float
    """Largest difference of a probability, or of a regression's value.

    For large values, the precision that float32 loses is counted in proportion.
    """
    tolerance: float
    """Largest difference allowed: of a probability, or of a value in the target's unit."""
    edge_rows: int = 0
    threshold_rows: int = 0


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """Rows with the model's outputs at export, checked at each load."""

    records: list[dict[str, Scalar | None]]
    outputs: dict[str, list[Scalar | list[float]]]
    tolerance: float
    """Largest difference allowed: another CPU's instructions may round the last bits differently."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All information about one model version that a server needs."""

    format: int
    name: str
    version: int
    api_version: int = 1
    """Major version of the typed RPC service, from 1.

    It is incremented if older clients' messages would be misread.
    """
    kind: Kind
    target: str
    features: list[Feature]
    outputs: list[Output]
    sha256: str
    """SHA-256 digest of model.onnx, in lower-case hexadecimal."""
    golden: Golden
    parity: Parity
    provenance: Provenance
    metrics: Metrics | None = None
    description: str = ""
    classes: list[str] = msgspec.field(default_factory=list)
    """Class names in the order of the probabilities; empty for regression."""
    positive_class: str | None = None
    """The class whose probability is `probability`; binary only."""
    min_batch_rows: int = 1
    """Minimum rows of one run.

    With fewer rows, the bits of a row's output could depend on the other rows.
    """
    limits: list[str] = msgspec.field(default_factory=list)
    """Uses that the author excludes or restricts, one sentence each."""
    comparison: Comparison | None = None
    """Comparison with the version that this version replaced; None for the first version."""
    reference: Reference | None = None
    """Histograms and category shares of the training rows."""
    background: list[dict[str, Scalar | None]] = msgspec.field(default_factory=list)
    """A sample of at most MAX_BACKGROUND_ROWS training rows: the baseline of explanations."""

    @property
    def explained_rows(self) -> int:
        """Model rows that explain one record, before equal rows are removed.

        0 if no record can be explained.
        """
        return 2 ** len(self.features) * len(self.background) if len(self.features) <= MAX_EXPLAINED_FEATURES else 0

    def output(self, role: Role) -> Output:
        """Return the output of this role. Raises ManifestError if there is none."""
        for output in self.outputs:
            if output.role == role:
                return output
        raise ManifestError(f"outputs: expected one with the role {role!r}")


def read(path: Path) -> Manifest:
    """Read and check a manifest file.

    Raises ManifestError, naming the member at fault, if the file is missing, malformed or contradicts itself.
    """
    try:
        return decode(regular_file.read(path, MAX_MANIFEST_BYTES))
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ManifestError(f"{path}: {error}") from error


def decode(content: bytes) -> Manifest:
    """Return the checked manifest from a file's bytes.

    Raises ManifestError for invalid content, ValueError if the bytes are not a manifest.
    """
    manifest = strict_json.decode(content, Manifest)
    check(manifest)
    return manifest


def encode(manifest: Manifest) -> bytes:
    """Return the file's bytes: indented JSON with the members in their declared order.

    This lets a text diff compare versions.
    """
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def check(manifest: Manifest) -> None:
    """Raise ManifestError for errors that the types cannot express."""
    if manifest.format != FORMAT:
        raise ManifestError(f"format: expected {FORMAT}, got {manifest.format}; this server is older than the model")
    check_features(manifest.features)
    _check_numbers(manifest)
    _check_reference(manifest)
    if len(manifest.background) > MAX_BACKGROUND_ROWS:
        raise ManifestError(f"background: expected at most {MAX_BACKGROUND_ROWS} rows; got {len(manifest.background)}")
    if manifest.kind == "regression":
        manifest.output("value")
        return
    manifest.output("label")
    if manifest.output("probabilities").shape != [-1, len(manifest.classes)]:
        raise ManifestError("outputs: the probabilities' shape must be [-1, number of classes]")
    if manifest.kind == "binary" and manifest.positive_class not in manifest.classes:
        raise ManifestError(
            f"positive_class: expected one of {manifest.classes}, got {quoted_value(manifest.positive_class)}"
        )


def check_features(features: Sequence[Feature]) -> None:
    """Raise ManifestError, naming the feature, for features that no signature can hold.

    Field numbers are not checked.
    """
    names = [feature.name for feature in features]
    if not names or len(set(names)) != len(names):
        raise ManifestError("features: expected at least one, with unique names")
    if "records" in names:
        raise ManifestError("features: 'records' is reserved for requests and can't name a feature")
    for feature in features:
        _check_feature(feature)


def _check_feature(feature: Feature) -> None:
    if not feature.name or msgspec.json.encode(feature.name) != f'"{feature.name}"'.encode():
        raise ManifestError(
            f"features: expected names without quotes, \\ and control characters; got {quoted(feature.name)}"
        )
    if feature.nullable and feature.null is None:
        raise ManifestError(f"features: {feature.name} is nullable and has no null_value")
    if feature.minimum is not None and feature.maximum is not None and feature.minimum > feature.maximum:
        raise ManifestError(f"features: {feature.name} has a minimum above its maximum")
    if feature.categories is not None and not feature.categories:
        raise ManifestError(f"features: {feature.name} allows no category")


def _check_reference(manifest: Manifest) -> None:
    """Check that the reference can be compared with served rows.

    It needs categories for strings and booleans, and edges for a numeric output.
    """
    if manifest.reference is None:
        return
    expected_members = {
        feature.name: "categories" for feature in manifest.features if feature.datatype in {"BYTES", "BOOL"}
    }
    distributions = [(name, each, expected_members.get(name, "")) for name, each in manifest.reference.features.items()]
    distributions.append(
        ("answer", manifest.reference.answer, "categories" if manifest.kind == "multiclass" else "edges")
    )
    for name, distribution, member in distributions:
        problem = distribution.problem()
        if not problem and member and getattr(distribution, member) is None:
            problem = f"expected {member}"
        if problem:
            raise ManifestError(f"reference: {name}: {problem}")


def _check_numbers(manifest: Manifest) -> None:
    """Check that the typed RPC service's version and field numbers are valid in protobuf."""
    if manifest.api_version < 1:
        raise ManifestError(f"api_version: expected 1 or more, got {manifest.api_version}")
    owners: dict[int, str] = {}
    for feature in manifest.features:
        number = feature.field_number
        if not 1 <= number <= MAX_FIELD_NUMBER or number in RESERVED_FIELD_NUMBERS:
            raise ManifestError(
                f"features: {feature.name} has the field_number {number}; expected 1 to {MAX_FIELD_NUMBER}, "
                f"and none of protobuf's own {RESERVED_FIELD_NUMBERS[0]} to {RESERVED_FIELD_NUMBERS[-1]}"
            )
        if number in owners:
            raise ManifestError(f"features: {owners[number]} and {feature.name} have the same field_number {number}")
        owners[number] = feature.name
