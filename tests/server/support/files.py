"""Files of passengers, the expected predictions by onnxruntime, and piecewise uploads."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tests.passenger import DATATYPES
from tests.server.support.process import HUNG_S

ROOT: Final = Path(__file__).parents[3]
MODEL: Final = ROOT / "models" / "titanic" / "1" / "model.onnx"
NAMES: Final = tuple(DATATYPES)
BATCH: Final = "/api/batch"
ADDED: Final = ("predicted_survived", "probability_died", "probability_survived")
HEADER: Final = ",".join(NAMES).encode() + b"\n"
NULLS: Final = {"age": np.nan, "fare": np.nan, "embarked": ""}
DTYPES: Final[dict[str, Any]] = {"INT64": np.int64, "FP32": np.float32, "BYTES": object}
Record = dict[str, Any]


def line(record: Record) -> bytes:
    """Return a record as a CSV line."""
    return ",".join("" if record[name] is None else str(record[name]) for name in NAMES).encode() + b"\n"


def csv(records: Sequence[Record], rows: int | None = None) -> bytes:
    """Return records as a CSV file, repeated up to `rows` rows."""
    lines = [line(record) for record in records]
    times, rest = divmod(len(lines) if rows is None else rows, len(lines))
    return HEADER + b"".join(lines) * times + b"".join(lines[:rest])


def answers(records: Sequence[Record]) -> tuple[list[str], NDArray[np.float32]]:
    """Return onnxruntime's own outputs for records: labels, and probabilities of shape [rows, 2].

    Uses one thread, because several threads add the trees in another order, which changes the last bits.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    feed = {}
    for name, datatype in DATATYPES.items():
        values = [NULLS[name] if record[name] is None else record[name] for record in records]
        feed[name] = np.array(values, DTYPES[datatype]).reshape(-1, 1)
    label, probabilities = onnxruntime.InferenceSession(MODEL, options).run(["label", "probabilities"], feed)
    return label.tolist(), probabilities


def read(text: bytes) -> list[list[str]]:
    """Return the fields of a scored passenger file without quotes, except its header."""
    header, *lines = text.decode().splitlines()
    assert header.split(",") == [*NAMES, *ADDED]
    return [each.split(",") for each in lines]


def check(text: bytes, records: Sequence[Record]) -> None:
    """Check that a scored file has the records' values and exactly onnxruntime's predictions."""
    rows = read(text)
    labels, probabilities = answers(records)
    assert [row[:7] for row in rows] == [line(record).decode().strip("\n").split(",") for record in records]
    assert [row[7] for row in rows] == labels
    assert (np.array([row[8:] for row in rows], np.float32) == probabilities).all()


class Upload:
    """A chunked HTTP/1.1 upload that the test sends and reads piece by piece."""

    def __init__(self, connection: socket.socket) -> None:
        """Use a connection on which nothing was sent yet."""
        self.connection = connection
        self._answer = connection.makefile("rb")

    def begin(self, path: str, *headers: str, method: str = "PUT", te: str = "trailers") -> None:
        """Send the request head."""
        lines = [f"{method} {path} HTTP/1.1", "host: x", "transfer-encoding: chunked", f"te: {te}", *headers]
        self.connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")

    def send(self, data: bytes) -> None:
        """Send a piece of the file."""
        self.connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """Send the end of the file."""
        self.connection.sendall(b"0\r\n\r\n")

    def head(self) -> tuple[int, dict[str, str]]:
        """Read the status and headers of the response or of an interim response."""
        status = int(self._answer.readline().split()[1])
        return status, self._fields()

    def _fields(self) -> dict[str, str]:
        found = {}
        while text := self._answer.readline().strip():
            name, _, value = text.decode("latin-1").partition(":")
            found[name.lower()] = value.strip()
        return found

    def piece(self) -> bytes | None:
        """Read the response's next chunk: empty at the end, None if it was cut off."""
        size = self._answer.readline()
        if not size:
            return None
        data = self._answer.read(int(size, 16))
        if data:
            self._answer.readline()
        return data

    def rest(self) -> tuple[bytes, dict[str, str] | None]:
        """Read the response to its end.

        Returns the body and the trailers. The trailers are None if the response was cut off.
        """
        found = b""
        while piece := self.piece():
            found += piece
        return found, None if piece is None else self._fields()

    def close(self) -> None:
        """Close the connection."""
        self._answer.close()
        self.connection.close()


@contextmanager
def upload(client: httpx.Client, *headers: str, path: str = "/api/batch", method: str = "PUT") -> Iterator[Upload]:
    """Begin an upload to the server of `client`."""
    address = (client.base_url.host, client.base_url.port or 80)
    begun = Upload(socket.create_connection(address, timeout=HUNG_S))
    try:
        begun.begin(path, *headers, method=method)
        yield begun
    finally:
        begun.close()
