"""An image that is older or newer than the Worker: `python image.py MODEL`, the least that a server can be.

It knows readiness, a prediction and the list of its models; reports a load that nobody can read, and a header that
nobody has heard of.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

MODEL: Final = sys.argv[1]
MODELS: Final = {"models": [{"name": "m", "version": MODEL}]}


class Handler(BaseHTTPRequestHandler):
    """Answers by the model it was started with."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer readiness, the models, or a prediction, which may be kept for a minute."""
        if self.path.startswith("/api/predict"):
            self._answer({"by": MODEL}, {"cache-control": "public, max-age=60, must-revalidate", "etag": f'"{MODEL}"'})
        else:
            self._answer(MODELS if self.path.startswith("/api/models") else {"ready": True})

    def do_POST(self) -> None:
        """Answer a prediction."""
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
