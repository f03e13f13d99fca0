"""Columns to output tensors: one verified version of a model. The only module that imports onnxruntime."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library loads; on by default on Linux since 1.29
import onnxruntime

from server import manifest as manifests
from server.errors import DigestError, GoldenError, ManifestError, ModelError, SignatureError
from server.manifest import MANIFEST_FILE, MODEL_FILE, Manifest
from server.signature import Columns, Outputs, Signature

ORT_TYPES: Final = {
    "BOOL": "tensor(bool)",
    "INT8": "tensor(int8)",
    "INT16": "tensor(int16)",
    "INT32": "tensor(int32)",
    "INT64": "tensor(int64)",
    "UINT8": "tensor(uint8)",
    "UINT16": "tensor(uint16)",
    "UINT32": "tensor(uint32)",
    "UINT64": "tensor(uint64)",
    "FP16": "tensor(float16)",
    "FP32": "tensor(float)",
    "FP64": "tensor(double)",
    "BYTES": "tensor(string)",
}
"""Open Inference Protocol datatype to the name onnxruntime gives it."""


RUNTIME_VERSION: Final[str] = onnxruntime.__version__


def open_session(model: bytes) -> Any:  # noqa: ANN401 # onnxruntime ships no types
    """Open an onnxruntime session for a quarter of a CPU.

    One thread and no spinning: the default pool burns a whole core under sparse traffic. Raises ModelError for bytes
    that onnxruntime can't load.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Nothing but what ends the process: what fails is raised as well, and onnxruntime's own lines, which have another
    # form than the log's, quote the input that a run fails at.
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the binding raises a class of its own for each of a dozen reasons
        raise ModelError(f"{MODEL_FILE}: onnxruntime can't load it: {error}") from error


class Model:
    """A model version that may serve: its digest was checked on the very bytes that were loaded."""

    def __init__(self, manifest: Manifest, model: bytes) -> None:
        """Open the session.

        Raises DigestError where `model` is not the manifest's file, SignatureError where its inputs and outputs are
        not the manifest's, ManifestError where the background's rows are none of it, ModelError where onnxruntime
        can't load it.
        """
        digest = hashlib.sha256(model).hexdigest()
        if digest != manifest.sha256:
            raise DigestError(f"{MODEL_FILE}: expected SHA-256 {manifest.sha256}, got {digest}")
        self.manifest = manifest
        self.name = manifest.name
        self.version = str(manifest.version)
        self.load_s = 0.0
        """How long reading, checking and warming it took, where it was loaded from a folder."""
        self.signature = Signature(manifest.features)
        self.output_names = [output.name for output in manifest.outputs]
        self._session = open_session(model)
        self._check_signature()
        self._check_background()
        # The binding itself: what is around it checks, at every run, what was checked just now for all of them.
        self._compute = self._session._sess.run  # noqa: SLF001

    @classmethod
    def load(cls, directory: Path) -> "Model":
        """Load, check and warm the version in `directory`, ready for its first caller. Raises ModelError."""
        manifest = manifests.read(directory / MANIFEST_FILE)
        try:
            model = (directory / MODEL_FILE).read_bytes()
        except OSError as error:
            raise ModelError(f"{directory / MODEL_FILE}: {error.strerror}") from error
        loaded = cls(manifest, model)
        loaded.warm()
        return loaded

    def run(self, columns: Columns, names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
        """Run the model once.

        `columns` holds an array of shape [rows, 1] for each feature, all of the same number of rows, at least one.
        Returns the outputs called `names`, or all. A row's answer has the same bits alone and in company: fewer rows
        than the manifest's `min_batch_rows` are filled up with copies of the last, whose answers are dropped.
        """
        wanted = self.output_names if names is None else list(names)
        rows = len(next(iter(columns.values())))
        short = self.manifest.min_batch_rows - rows
        if short > 0:
            columns = {name: np.concatenate([array, *[array[-1:]] * short]) for name, array in columns.items()}
        outputs = self._session.run(wanted, columns)
        return {name: output[:rows] for name, output in zip(wanted, outputs, strict=True)}

    def compute(self, tensors: Columns) -> Outputs:
        """Run the model once on the tensors as they are. Returns every output, in the manifest's order.

        `tensors` holds an array of shape [rows, 1] for each feature; the caller has seen to `min_batch_rows`.
        """
        return self._compute(self.output_names, tensors, None)  # type: ignore[no-any-return] # it ships no types

    def warm(self) -> None:
        """Run the golden rows, together and one at a time, so that no caller pays for the first run.

        Raises GoldenError where an answer is not the one given at export.
        """
        golden = self.manifest.golden
        together = self.run(self.signature.from_records(golden.records))
        for name, expected in golden.outputs.items():
            self._check_golden(name, together[name], expected)
        for row, record in enumerate(golden.records):
            alone = self.run(self.signature.from_records([record]))
            for name, expected in golden.outputs.items():
                self._check_golden(name, alone[name], expected[row : row + 1])

    def _check_golden(self, name: str, got: NDArray[Any], expected: list[Any]) -> None:
        wanted = np.array(expected, dtype=got.dtype)
        if got.shape != wanted.shape:
            raise GoldenError(f"golden rows: {name} has shape {list(got.shape)}, expected {list(wanted.shape)}")
        if got.dtype.kind == "f":
            difference = float(np.abs(got - wanted).max())
            if not difference <= self.manifest.golden.tolerance:  # a NaN is no answer either
                raise GoldenError(f"golden rows: {name} differs by {difference:g} from the export's")
        elif not np.array_equal(got, wanted):
            raise GoldenError(f"golden rows: {name} differs from the export's")

    def _check_background(self) -> None:
        """See that explanations, which are first asked for much later, have rows that the model can be run on."""
        for row, record in enumerate(self.manifest.background):
            for column in self.signature.columns:
                name = column.feature.name
                if not column.can_hold(record.get(name)):
                    got = repr(record[name])[:40] if name in record else "nothing"
                    raise ManifestError(f"background: row {row}: {name}: no value of {column.feature.datatype}: {got}")

    def _check_signature(self) -> None:
        inputs = {each.name: (each.type, each.shape[1:]) for each in self._session.get_inputs()}
        expected = {f.name: (ORT_TYPES[f.datatype], [1]) for f in self.manifest.features}
        if inputs != expected:
            raise SignatureError(f"{MODEL_FILE}: its inputs are {inputs}, the manifest says {expected}")
        outputs = {each.name: each.type for each in self._session.get_outputs()}
        for output in self.manifest.outputs:
            if outputs.get(output.name) != ORT_TYPES[output.datatype]:
                raise SignatureError(f"{MODEL_FILE}: it has no output {output.name!r} of {output.datatype}")
