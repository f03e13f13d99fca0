"""Baseline of a start: import the server's dependencies, open the session, and serve the echo."""

import os
import sys

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy  # noqa: F401, ICN001 # imported for its cost
import onnxruntime
import starlette.applications
import starlette.responses
import starlette.routing  # noqa: F401
from echo import serve  # type: ignore[import-not-found] # beside this script

if __name__ == "__main__":
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
    serve(int(sys.argv[1]))
