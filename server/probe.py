"""`python -m server.probe`: exit 0 where the server here is ready, 1 where it isn't: the image's HEALTHCHECK.

It imports next to nothing: a probe that cost as much CPU as a start would eat the quarter of a core it watches.
"""

import os
import socket
import sys

TIMEOUT_S = 4
_REQUEST = b"GET /v2/health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


def ready(port: int) -> bool:
    """Return whether the server on this port answers 200 to its readiness path."""
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
            connection.sendall(_REQUEST)
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(not ready(int(os.environ.get("PORT") or 8080)))
