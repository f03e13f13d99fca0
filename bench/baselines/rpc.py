"""CPU time that the RPC layer and HTTP/2 add to a start. Prints milliseconds as JSON."""

import gc
import json
import sys
import time
from pathlib import Path

from server.app import create_app
from server.http import http1
from server.models.repository import Repository
from server.settings import Settings

gc.disable()  # as a start does
app = create_app(Repository.load(Path(sys.argv[1])), Settings())
before_s = time.process_time()
app.rpc.load()
loaded_s = time.process_time()
http1.protocol(app.fast_path_handlers, app.draining, app.held, Settings(http2=True), app.rpc.reject)
spoken_s = time.process_time()
print(json.dumps({"rpc_ms": (loaded_s - before_s) * 1e3, "http2_ms": (spoken_s - loaded_s) * 1e3}))
