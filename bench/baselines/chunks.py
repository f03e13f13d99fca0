"""Baseline of a scored file: `session.run` in a loop over many rows. Prints CPU and wall seconds as JSON.

    chunks.py MODEL ROWS CHUNK

The rows are tensors already. The output also holds the probabilities of the first and of the last row.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime


def main(path: str, rows: int, chunk: int) -> None:
    """Measure the model at `path` on `rows` passengers, `chunk` at a time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from bench.sample_tensors import passengers

    columns = passengers(rows)
    feeds = [
        {name: values[start : start + chunk] for name, values in columns.items()} for start in range(0, rows, chunk)
    ]
    first = session.run(None, feeds[0])[1]
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    for feed in feeds:
        last = session.run(None, feed)[1]
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    json.dump({"cpu_s": cpu_s, "wall_s": wall_s, "first": float(first[0, 1]), "last": float(last[-1, 1])}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
