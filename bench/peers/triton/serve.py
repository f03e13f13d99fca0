"""Triton from its Python wheel, with dynamic batching in front of onnxruntime."""

import argparse
import os
import signal
import sys
import sysconfig

LIBRARIES = "LD_LIBRARY_PATH"


def find_python() -> None:
    """Restart this process with the interpreter's shared library in the search path of Triton's process."""
    folders = [each for each in os.environ.get(LIBRARIES, "").split(os.pathsep) if each]
    own = sysconfig.get_config_var("LIBDIR")
    if own not in folders:
        environment = {**os.environ, LIBRARIES: os.pathsep.join([own, *folders])}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # replaces this process


def main(port: int, model: str) -> None:
    """Serve until SIGTERM."""
    import numpy as np
    import onnxruntime as ort
    from pytriton.decorators import batch
    from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    dtypes = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(string)": np.bytes_}
    inputs = [Tensor(name=each.name, dtype=dtypes[each.type], shape=(1,)) for each in session.get_inputs()]
    strings = [each.name for each in inputs if each.dtype is np.bytes_]

    @batch
    def infer(**columns: np.ndarray) -> list[np.ndarray]:
        for name in strings:
            columns[name] = np.char.decode(columns[name].astype(np.bytes_))
        label, probabilities = session.run(None, columns)
        return [label.astype(np.bytes_)[:, None], probabilities]

    settings = TritonConfig(http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False)
    batcher = DynamicBatcher(max_queue_delay_microseconds=1000)
    outputs = [
        Tensor(name="label", dtype=np.bytes_, shape=(1,)),
        Tensor(name="probabilities", dtype=np.float32, shape=(2,)),
    ]
    with Triton(config=settings) as triton:
        config = ModelConfig(batching=True, max_batch_size=32, batcher=batcher)
        triton.bind(model_name="titanic", infer_func=infer, inputs=inputs, outputs=outputs, config=config)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        triton.serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    find_python()
    main(arguments.port, arguments.model)
