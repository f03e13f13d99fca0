"""A server whose only thread stalls for as long as a body says: `python stalling.py`, started in place of the real one.

While it stalls it answers nobody, as the real server would where a body kept its event loop busy. A body of
`{"stall": 2.5}` stalls it for so many seconds, one of `{"exit": 134}` ends it. The output names each when it arrives.
"""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers one request for each connection, in the server's only thread."""

    def do_GET(self) -> None:
        """Answer readiness and the models."""
        self._answer({"ready": True, "models": []})

    def do_POST(self) -> None:
        """Answer a prediction, after what its body asks for."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "stall" in body:
            print(f"stalling {self.headers['x-request-id']}", flush=True)
            time.sleep(body["stall"])
            print(f"recovered {self.headers['x-request-id']}", flush=True)
        if "exit" in body:
            print(f"exiting {self.headers['x-request-id']}", flush=True)
            os._exit(body["exit"])
        self._answer({"label": "survived"})

    def _answer(self, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log no request."""


class Server(HTTPServer):
    """Lets connections wait while the thread stalls."""

    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
