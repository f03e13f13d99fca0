"""The floor of a prediction: `session.run` in a bare loop. Prints, as JSON, CPU microseconds: start, run of 1, of 16.

The start is that of importing numpy and onnxruntime and of opening the session, nothing else.
"""

import json
import os
import sys
import time

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnxruntime

RUNS = 5000
PASSENGER = {"pclass": 1, "sex": "female", "age": 29.0, "sibsp": 0, "parch": 0, "fare": 211.3375, "embarked": "S"}
DTYPES = {"tensor(string)": object, "tensor(int64)": np.int64, "tensor(float)": np.float32}


def main(path: str) -> None:
    """Measure the model at `path`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    figures = {"start_cpu_us": time.process_time() * 1e6}
    for rows in (1, 16):
        feed = {each.name: np.full((rows, 1), PASSENGER[each.name], DTYPES[each.type]) for each in session.get_inputs()}
        session.run(None, feed)
        began = time.process_time()
        for _ in range(RUNS):
            session.run(None, feed)
        figures[f"run_{rows}_cpu_us"] = (time.process_time() - began) / RUNS * 1e6
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
