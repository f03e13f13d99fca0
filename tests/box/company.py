"""Good clients that send requests all the time, and the results they got."""

import contextlib
import http.client
import json
import threading
from types import TracebackType
from typing import Any, Final, Self

from tests.passenger import PASSENGER

PATIENCE_S: Final = 120
"""Seconds that a good client waits.

It is long: the server has a quarter of a CPU and an attack, on a busy machine.
"""
_PAUSE_S: Final = 0.05
_BODY: Final = json.dumps(PASSENGER).encode()


class Company:
    """Clients that send prediction requests in a loop, each on its own connection.

    Each client sends at least one request.
    """

    def __init__(self, address: tuple[str, int], clients: int = 2) -> None:
        """Send the requests to the server at `address`."""
        self._address = address
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self.answered = 0
        """Number of correct predictions, over all connections."""
        self.turned_away = 0
        """Number of requests that a busy server rejected with 429 or 503."""
        self.failures: list[str] = []
        """All other results of requests."""
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        for each in self._threads:
            each.join(PATIENCE_S)

    def _call(self) -> None:
        with contextlib.closing(http.client.HTTPConnection(*self._address, timeout=PATIENCE_S)) as connection:
            self._call_on(connection)

    def _call_on(self, connection: http.client.HTTPConnection) -> None:
        while True:
            try:
                status, body = predict(connection)
            except (OSError, http.client.HTTPException) as error:
                self._count(repr(error))
                connection.close()
            else:
                self._count("" if status == 200 and body["label"] == "survived" else f"{status} {body}")
            if self._stopped.wait(_PAUSE_S):
                return

    def _count(self, failure: str) -> None:
        with self._lock:
            if not failure:
                self.answered += 1
            elif failure.startswith(("429", "503")):
                self.turned_away += 1
            else:
                self.failures.append(failure)


def predict(connection: http.client.HTTPConnection) -> tuple[int, Any]:
    """Send one prediction request; return the status and the JSON document."""
    connection.request("POST", "/api/predict", _BODY, {"content-type": "application/json"})
    with connection.getresponse() as response:
        return response.status, json.loads(response.read())
