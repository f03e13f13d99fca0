"""A server whose single thread stalls when a body says so: `python stalling.py`.

Tests start it instead of the real server. While it stalls it sends no response, like the real server if a body blocked
its event loop. A body of `{"stall": 2.5}` stalls it for 2.5 seconds, and `{"exit": 134}` ends it. It prints a line when
such a request arrives.
"""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    """Handles one request per connection, in the server's only thread."""

    def do_GET(self) -> None:
        """Respond to readiness and the list of models."""
        self._answer({"ready": True, "models": []})

    def do_POST(self) -> None:
        """Stall or exit if the body says so, then respond with a prediction."""
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
    """Accepts a backlog of connections while the thread stalls."""

    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
