"""Run `bentoml serve` for service.py in this folder."""

import argparse
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    environment = {**os.environ, "MODEL": str(Path(arguments.model).resolve()), "BENTOML_DO_NOT_TRACK": "True"}
    options = ["--host", "127.0.0.1", "--port", str(arguments.port), "--working-dir", str(Path(__file__).parent)]
    command = [sys.executable, "-m", "bentoml", "serve", "service:Titanic", *options]
    os.execve(sys.executable, command, environment)  # replaces this process
