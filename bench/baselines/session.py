"""Baseline of a prediction: `session.run` in a loop. Prints CPU microseconds of the start and of a run as JSON.

    session.py MODEL ROWS...

The start only imports numpy and onnxruntime, and opens the session.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy  # noqa: F401, ICN001 # imported for its cost
import onnxruntime

MOST_RUNS = 5000
MOST_ROWS = 1_000_000


def main(path: str, *many: str) -> None:
    """Measure the model at `path`, once for each number of rows in `many`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    figures = {"start_cpu_us": time.process_time() * 1e6}
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from bench.sample_tensors import passengers

    for rows in map(int, many):
        feed = passengers(rows)
        session.run(None, feed)
        runs = min(MOST_RUNS, MOST_ROWS // rows)
        began = time.process_time()
        for _ in range(runs):
            session.run(None, feed)
        figures[f"run_{rows}_cpu_us"] = (time.process_time() - began) / runs * 1e6
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
