"""Healthcheck of the image: exit with 0 if the local server is ready, else 1.

Run it with `python -m server.http.healthcheck`. It imports very little: a probe that costs as much CPU as a start would
use up the quarter of a core that it monitors.
"""

import os
import socket
import sys

TIMEOUT_S = 4
_REQUEST = b"GET /v2/health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


def ready(port: int) -> bool:
    """Return True if the server on this port returns 200 for its readiness path."""
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
            connection.sendall(_REQUEST)
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(not ready(int(os.environ.get("PORT") or 8080)))
