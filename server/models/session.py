"""Inference sessions: one verified model version, from columns to output tensors.

Only this module imports onnxruntime.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library loads; on by default on Linux since 1.29
import onnxruntime

from server.errors import DigestError, GoldenError, ManifestError, ModelError, SignatureError
from server.models import digest_file, regular_file
from server.models import manifest as manifests
from server.models.deferred_signals import deferred_signals
from server.models.external_data import check_no_external_data
from server.models.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES, MODEL_FILE, Manifest
from server.models.run_limits import DEFAULT_TIMEOUT_S, RunLimits, Terminable
from server.models.signature import Columns, Outputs, Signature

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
"""Open Inference Protocol datatype to onnxruntime's type name."""


RUNTIME_VERSION: Final[str] = onnxruntime.__version__
MAX_MODEL_BYTES: Final = 2**31 - 1
"""Maximum bytes of a model that protobuf can decode."""


def run_limits(timeout_s: float = DEFAULT_TIMEOUT_S) -> RunLimits:
    """Return limits for model runs; `timeout_s` is the maximum seconds of one run."""
    return RunLimits(onnxruntime.RunOptions, timeout_s)


class Cancellation:
    """Cancels a load from another thread.

    The opening of the session stops between its steps, the run of the golden rows between nodes.
    """

    def __init__(self) -> None:
        """Create the options of a load that is not cancelled."""
        self.session_options = onnxruntime.SessionOptions()
        self.run_options = onnxruntime.RunOptions()

    def cancel(self) -> None:
        """Cancel the load, which then raises an error."""
        self.session_options.set_load_cancellation_flag(True)
        self.run_options.terminate = True


def open_session(model: bytes, options: Any = None) -> Any:  # noqa: ANN401 # onnxruntime ships no types
    """Open an onnxruntime session for a quarter of a CPU.

    `options` are new SessionOptions, if any. The session has one thread and no spinning: the default pool uses a whole
    core under sparse traffic. Raises ModelError for bytes that onnxruntime can't load, and for a model with external
    data.
    """
    check_no_external_data(model)
    options = onnxruntime.SessionOptions() if options is None else options
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # only the format that was checked above
    # Log fatal errors only. Other errors are raised as well, and onnxruntime's own lines have another format than the
    # log and quote the input of a failed run.
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the binding raises a different class for each of a dozen reasons
        raise ModelError(f"{MODEL_FILE}: onnxruntime can't load it: {error}") from error


class Model:
    """A servable model version. Its digest was checked on the same bytes that were loaded."""

    def __init__(
        self,
        manifest: Manifest,
        model: bytes,
        limits: RunLimits | None = None,
        cancellation: Cancellation | None = None,
    ) -> None:
        """Open the session; `limits` bounds the time of its runs if a watchdog enforces it.

        Raises DigestError if `model` is not the manifest's file, SignatureError if its inputs and outputs are not the
        manifest's, ManifestError if the background's rows do not fit the features, ModelError if onnxruntime can't load
        it.
        """
        digest = hashlib.sha256(model).hexdigest()
        if digest != manifest.sha256:
            raise DigestError(f"{MODEL_FILE}: expected SHA-256 {manifest.sha256}, got {digest}")
        self.manifest = manifest
        self.name = manifest.name
        self.version = str(manifest.version)
        self.load_s = 0.0
        """Seconds to read, check and warm the version, if it was loaded from a folder."""
        self.digest = ""
        """Digest of the folder's files at load; see `version_directory.digest`."""
        self.has_digest_file = False
        self.signature = Signature(manifest.features)
        self.output_names = [output.name for output in manifest.outputs]
        self.limits = limits or run_limits()
        self.is_slow = False
        """Whether a run held the event loop too long: later runs then use threads."""
        self._session = open_session(model, None if cancellation is None else cancellation.session_options)
        self._check_signature()
        self._check_rows("background", manifest.background)
        self._check_rows("golden rows", manifest.golden.records)
        # Call the binding directly: its wrapper repeats at every run the checks that were made above for all runs.
        self._compute = self._session._sess.run  # noqa: SLF001

    @classmethod
    def load(
        cls,
        directory: Path,
        max_bytes: int = MAX_MODEL_BYTES,
        limits: RunLimits | None = None,
        cancellation: Cancellation | None = None,
    ) -> "Model":
        """Load, check and warm the version in `directory`. Raises ModelError."""
        digests = digest_file.read(directory)
        files = {}
        for name, max_file_bytes in ((MANIFEST_FILE, MAX_MANIFEST_BYTES), (MODEL_FILE, max_bytes)):
            try:
                files[name] = regular_file.read(directory / name, max_file_bytes)
            except OSError as error:
                error_type = ManifestError if name == MANIFEST_FILE else ModelError
                raise error_type(f"{directory / name}: {error.strerror}") from error
            if digests is not None:
                digests.check(name, files[name])
        try:
            manifest = manifests.decode(files[MANIFEST_FILE])
        except ValueError as error:
            raise ManifestError(f"{directory / MANIFEST_FILE}: {error}") from error
        model = cls(manifest, files[MODEL_FILE], limits, cancellation)
        model.has_digest_file = digests is not None
        sums = [hashlib.sha256(each).hexdigest() for each in (*files.values(), *([digests.content] if digests else []))]
        model.digest = " ".join(sums)
        model.warm(None if cancellation is None else cancellation.run_options)
        return model

    def run(
        self, columns: Columns, names: Iterable[str] | None = None, options: Terminable | None = None
    ) -> dict[str, NDArray[Any]]:
        """Run the model once. Returns the outputs called `names`, or all outputs.

        `columns` holds an array of shape [rows, 1] for each feature, all with the same number of rows, at least one. A
        row's output has the same bits alone and beside other rows: a batch of fewer rows than the manifest's
        `min_batch_rows` is padded with copies of the last row, whose outputs are dropped. Raises RunTimeout if the run
        takes too long. A caller that passes `options` must terminate the run, and defer signals, itself.
        """
        output_names = self.output_names if names is None else list(names)
        rows = len(next(iter(columns.values())))
        missing_rows = self.manifest.min_batch_rows - rows
        if missing_rows > 0:
            columns = {name: np.concatenate([array, *[array[-1:]] * missing_rows]) for name, array in columns.items()}
        if options is not None:
            outputs = self._session.run(output_names, columns, options)
        else:
            with deferred_signals(), self.limits.limited() as run_options:
                outputs = self._session.run(output_names, columns, run_options)
        return {name: output[:rows] for name, output in zip(output_names, outputs, strict=True)}

    def compute(self, tensors: Columns, options: Terminable | None = None) -> Outputs:
        """Run the model once on the given tensors. Returns every output, in the manifest's order.

        `tensors` holds an array of shape [rows, 1] for each feature. The caller ensures `min_batch_rows`, and
        terminates a run that takes too long through `options`.
        """
        return self._compute(self.output_names, tensors, options)  # type: ignore[no-any-return] # it ships no types

    def warm(self, options: Terminable | None = None) -> None:
        """Run the golden rows, together and one at a time; `options` can terminate the runs.

        No client then waits for the slow first run. Raises GoldenError if an output differs from the export's.
        """
        golden = self.manifest.golden
        for name, members in (("records", golden.records), ("outputs", golden.outputs)):
            if not members:
                raise GoldenError(f"golden rows: {name}: expected at least one; it is empty, and nothing is checked")
        batch_outputs = self.run(self.signature.from_records(golden.records), options=options)
        if unknown := [name for name in golden.outputs if name not in batch_outputs]:
            raise GoldenError(f"golden rows: there is no output {unknown[0]!r}; there is {', '.join(batch_outputs)}")
        for name, expected in golden.outputs.items():
            self._check_golden(name, batch_outputs[name], expected)
        for row, record in enumerate(golden.records):
            row_outputs = self.run(self.signature.from_records([record]), options=options)
            for name, expected in golden.outputs.items():
                self._check_golden(name, row_outputs[name], expected[row : row + 1])

    def _check_golden(self, name: str, got: NDArray[Any], expected: list[Any]) -> None:
        try:
            expected_array = np.array(expected, dtype=got.dtype)
        except (ValueError, TypeError, OverflowError):
            raise GoldenError(f"golden rows: {name} has values that are not {got.dtype.name}") from None
        if got.shape != expected_array.shape:
            raise GoldenError(f"golden rows: {name} has shape {list(got.shape)}, expected {list(expected_array.shape)}")
        if got.dtype.kind == "f":
            difference = float(np.abs(got - expected_array).max())
            if not difference <= self.manifest.golden.tolerance:  # false for NaN, too
                raise GoldenError(f"golden rows: {name} differs by {difference:g} from the export's")
        elif not np.array_equal(got, expected_array):
            raise GoldenError(f"golden rows: {name} differs from the export's")

    def _check_rows(self, member: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Raise ManifestError unless the features' datatypes can hold the values of the manifest's rows."""
        for row, record in enumerate(records):
            for column in self.signature.columns:
                name = column.feature.name
                if not column.can_hold(record.get(name)):
                    got = repr(record[name])[:40] if name in record else "nothing"
                    raise ManifestError(f"{member}: row {row}: {name}: not a value of {column.feature.datatype}: {got}")

    def _check_signature(self) -> None:
        inputs = {each.name: (each.type, each.shape[1:]) for each in self._session.get_inputs()}
        expected = {f.name: (ORT_TYPES[f.datatype], [1]) for f in self.manifest.features}
        if inputs != expected:
            raise SignatureError(f"{MODEL_FILE}: its inputs are {inputs}, the manifest says {expected}")
        outputs = {each.name: each.type for each in self._session.get_outputs()}
        for output in self.manifest.outputs:
            if outputs.get(output.name) != ORT_TYPES[output.datatype]:
                raise SignatureError(f"{MODEL_FILE}: it has no output {output.name!r} of {output.datatype}")
