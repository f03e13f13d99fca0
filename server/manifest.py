"""manifest.json to Manifest: the contract with `export`, from which every interface is derived.

The exporter writes this file beside model.onnx; the server reads it. Both use the types below, so that neither can
drift from the other. Unknown members are ignored, so that an older server reads a newer exporter's additions; a
change that an older server must not read raises FORMAT.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from server.errors import ManifestError
from server.evidence import Comparison, Metrics, Provenance, Reference

FORMAT: Final = 1
MODEL_FILE: Final = "model.onnx"
MANIFEST_FILE: Final = "manifest.json"
MAX_BACKGROUND_ROWS: Final = 32
MAX_EXPLAINED_FEATURES: Final = 12
"""Features of a model whose answers are explained at most: each one more doubles the rows that it takes."""
MAX_FIELD_NUMBER: Final = 2**29 - 1
RESERVED_FIELD_NUMBERS: Final = range(19_000, 20_000)
"""Protobuf's own; the language guide, "Assigning Field Numbers", has both limits."""

Datatype = Literal[
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "FP32", "FP64", "BYTES"
]
"""The Open Inference Protocol's names; BYTES is a string of UTF-8."""

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
"""Scalar types of a feature's field in the typed messages: the narrowest of protobuf's that holds the datatype."""

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
    """The feature's number in the typed RPC messages, from 1: kept from version to version of one `api_version`.
    0 where it has none yet: the exporter numbers the features when it publishes them."""
    nullable: bool = False
    null_value: Scalar | None = None
    """What the model is fed for null: "NaN" for floats (JSON has no NaN), else a value no real row can have."""
    categories: list[str | int] | None = None
    """The only values allowed, where there are such."""
    minimum: float | None = None
    maximum: float | None = None
    """The range of what is possible, not of what was seen; both ends included."""

    @property
    def is_float(self) -> bool:
        """Whether the column holds floating-point numbers."""
        return self.datatype.startswith("FP")

    @property
    def null(self) -> Scalar | None:
        """The value the model is fed for null, NaN for "NaN"."""
        return math.nan if self.is_float and self.null_value == "NaN" else self.null_value


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """One output tensor; `role` says what it is to the answer."""

    name: str
    datatype: Datatype
    shape: list[int]
    """-1 for the rows."""
    role: Role


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """How far onnxruntime's answers were from scikit-learn's when the model was verified."""

    rows: int
    """Rows compared: all of the data, the edges of the signature, and those around the trees' split thresholds."""
    label_flips: int
    max_abs_difference: float
    """Of a probability; of a regression's value, what float32 loses of a large one counted in proportion."""
    tolerance: float
    """Largest difference allowed: of a probability, or of a value in the target's own unit."""
    edge_rows: int = 0
    threshold_rows: int = 0


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """Rows with the answers the model gave at export: checked whenever it is loaded."""

    records: list[dict[str, Scalar | None]]
    outputs: dict[str, list[Scalar | list[float]]]
    tolerance: float
    """Largest difference a number may show: another CPU's instructions may round the last bits otherwise."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a server needs to know of one model version."""

    format: int
    name: str
    version: int
    api_version: int = 1
    """Major version, from 1, of the typed RPC service: one more where older callers' messages would be misread."""
    kind: Kind
    target: str
    features: list[Feature]
    outputs: list[Output]
    sha256: str
    """Digest of model.onnx, in lower-case hexadecimal."""
    golden: Golden
    parity: Parity
    provenance: Provenance
    metrics: Metrics | None = None
    description: str = ""
    classes: list[str] = msgspec.field(default_factory=list)
    """In the order of the probabilities; empty for regression."""
    positive_class: str | None = None
    """The class whose probability is `probability`; binary only."""
    min_batch_rows: int = 1
    """Fewest rows to run at once so that a row's answer has the same bits alone and in company."""
    limits: list[str] = msgspec.field(default_factory=list)
    """What the model must not be used for, or not without care: a sentence each, from its author."""
    comparison: Comparison | None = None
    """The model beside the version it took the place of; None for the first."""
    reference: Reference | None = None
    """What the training rows hold: histograms and shares of the categories."""
    background: list[dict[str, Scalar | None]] = msgspec.field(default_factory=list)
    """A sample of at most MAX_BACKGROUND_ROWS training rows, which explanations are made against."""

    @property
    def explained_rows(self) -> int:
        """Rows of the model that explain one record, before equal ones are dropped; 0 where none can be explained."""
        return 2 ** len(self.features) * len(self.background) if len(self.features) <= MAX_EXPLAINED_FEATURES else 0

    def output(self, role: Role) -> Output:
        """Return the output of this role. Raises ManifestError where there is none."""
        for output in self.outputs:
            if output.role == role:
                return output
        raise ManifestError(f"outputs: expected one with the role {role!r}")


def read(path: Path) -> Manifest:
    """Read and check a manifest file.

    Raises ManifestError, naming the member at fault, where it is missing, malformed or contradicts itself.
    """
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: {error}") from error
    check(manifest)
    return manifest


def encode(manifest: Manifest) -> bytes:
    """Return the file's bytes: indented JSON in the members' own order, so that versions can be compared as text."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def check(manifest: Manifest) -> None:
    """Raise ManifestError for what types alone can't say."""
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
        raise ManifestError(f"positive_class: expected one of {manifest.classes}, got {manifest.positive_class!r}")


def check_features(features: Sequence[Feature]) -> None:
    """Raise ManifestError, naming the feature, for what no signature can hold; numbers of fields are not looked at."""
    names = [feature.name for feature in features]
    if not names or len(set(names)) != len(names):
        raise ManifestError("features: expected at least one, each with a name of its own")
    if "records" in names:
        raise ManifestError("features: 'records' is the request's own word and can't name a feature")
    for feature in features:
        _check_feature(feature)


def _check_feature(feature: Feature) -> None:
    if not feature.name or msgspec.json.encode(feature.name) != f'"{feature.name}"'.encode():
        raise ManifestError(f"features: expected names without quotes, \\ and control characters; got {feature.name!r}")
    if feature.nullable and feature.null is None:
        raise ManifestError(f"features: {feature.name} is nullable and has no null_value")
    if feature.minimum is not None and feature.maximum is not None and feature.minimum > feature.maximum:
        raise ManifestError(f"features: {feature.name} has a minimum above its maximum")
    if feature.categories is not None and not feature.categories:
        raise ManifestError(f"features: {feature.name} allows no category")


def _check_reference(manifest: Manifest) -> None:
    """Hold the reference to what rows can be sorted into: by name what has no order, by edges a number's answer."""
    if manifest.reference is None:
        return
    forms = {feature.name: "categories" for feature in manifest.features if feature.datatype in {"BYTES", "BOOL"}}
    told = [(name, each, forms.get(name, "")) for name, each in manifest.reference.features.items()]
    told.append(("answer", manifest.reference.answer, "categories" if manifest.kind == "multiclass" else "edges"))
    for name, distribution, form in told:
        problem = distribution.problem()
        if not problem and form and getattr(distribution, form) is None:
            problem = f"expected {form}"
        if problem:
            raise ManifestError(f"reference: {name}: {problem}")


def _check_numbers(manifest: Manifest) -> None:
    """Hold the typed RPC service's version and its fields' numbers to what protobuf can carry."""
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
