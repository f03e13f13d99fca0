"""A minimal server in an image older or newer than the Worker: `python image.py MODEL`.

It has readiness, a prediction and the list of models. It sends a load report that can't be parsed, and an unknown
header.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

MODEL: Final = sys.argv[1]
MODELS: Final = {"models": [{"name": "m", "version": MODEL}]}


class Handler(BaseHTTPRequestHandler):
    """Responds with the model's name from the command line."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Respond to readiness, the list of models, or a prediction that may be cached for a minute."""
        if self.path.startswith("/api/predict"):
            self._answer({"by": MODEL}, {"cache-control": "public, max-age=60, must-revalidate", "etag": f'"{MODEL}"'})
        else:
            self._answer(MODELS if self.path.startswith("/api/models") else {"ready": True})

    def do_POST(self) -> None:
        """Respond to a prediction."""
        self.rfile.read(int(self.headers["content-length"]))
        self._answer({"by": MODEL})

    def _answer(self, answer: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        known = {"content-type": "application/json", "content-length": str(len(body))}
        for name, value in (known | {"x-unheard-of": "1", "x-lifeboat-load": "much"} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
