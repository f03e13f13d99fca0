"""Clients for the in-process app over socket pairs: RPC in every protocol, HTTP/1.1 and HTTP/2."""

import base64
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec
import pytest
import zttp
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.inference.statistics import Counters
from server.models import manifest as manifests
from server.models.manifest import Manifest
from server.rest.handler import RestHandler
from server.rpc.proto import inference_pb2
from server.rpc.services import typed_descriptor
from tests.passenger import DATATYPES, PASSENGER
from tests.server.support.process import HUNG_S
from tests.server.support.wire import Wire, post

MODELS: Final = Path(__file__).parents[3] / "models"
TITANIC: Final = manifests.read(MODELS / "titanic" / "1" / "manifest.json")
SERVICE: Final = "/lifeboat.titanic.v1.TitanicService"
PREDICT: Final = f"{SERVICE}/Predict"
BATCH: Final = f"{SERVICE}/PredictBatch"
STREAM: Final = f"{SERVICE}/PredictStream"
INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
HEAD: Final = struct.Struct(">BI")


def kinds(manifest: Manifest = TITANIC) -> dict[str, type[Message]]:
    """Return a typed service's message classes, made by protobuf from the server's descriptor."""
    pool = DescriptorPool()
    file = typed_descriptor.file(manifest)
    pool.Add(file)
    names = [message.name for message in file.message_type]
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in names}


KINDS: Final = kinds()


def request(**fields: Any) -> Any:  # noqa: ANN401 # of a type made at run time
    """Return a PredictRequest."""
    return KINDS["PredictRequest"](**{name: value for name, value in fields.items() if value is not None})


@dataclass
class Answer:
    """The complete response of a call."""

    status: int
    headers: dict[str, str]
    body: bytes
    trailers: dict[str, str]


def enveloped(message: bytes, flags: int = 0) -> bytes:
    """Return a message with its envelope."""
    return HEAD.pack(flags, len(message)) + message


def envelopes(body: bytes) -> list[tuple[int, bytes]]:
    """Return the flags and the message of each envelope."""
    found = []
    while body:
        flags, length = HEAD.unpack_from(body)
        found.append((flags, body[HEAD.size : HEAD.size + length]))
        assert len(found[-1][1]) == length
        body = body[HEAD.size + length :]
    return found


def http1(served: Wire, path: str, body: bytes, *headers: str) -> Answer:
    """Send one POST over HTTP/1.1."""
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers]
    return raw(served, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def get(served: Wire, target: str, *headers: str) -> Answer:
    """Send one GET over HTTP/1.1."""
    return raw(served, "\r\n".join([f"GET {target} HTTP/1.1", "host: x", *headers]).encode() + b"\r\n\r\n")


def raw(served: Wire, data: bytes) -> Answer:
    """Send bytes on a new connection and return the response, chunked or not."""
    with served.connect() as connection:
        connection.sendall(data)
        return served.during(lambda: _read(connection))


def _read(connection: socket.socket) -> Answer:
    with connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        headers = {}
        while line := file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") != "chunked":
            return Answer(status, headers, file.read(int(headers.get("content-length", "0"))), {})
        body = b""
        while length := int(file.readline(), 16):
            body += file.read(length)
            file.readline()
        return Answer(status, headers, body, {})


class Served(Protocol):
    """A server that accepts connections."""

    def connect(self) -> socket.socket:
        """Return a new connection."""

    def during(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Run the server while `work` runs."""


class Http2:
    """HTTP/2 client with one connection, by zttp."""

    def __init__(self, served: Served, *, no_window: bool = False) -> None:
        """Connect. With `no_window` the server may not send body bytes before `open_window`."""
        self._served = served
        self._socket = served.connect()
        self._socket.settimeout(HUNG_S)
        self._conn: Any = zttp.Connection(zttp.CLIENT, zttp.HTTP2)
        self._conn.initiate_connection()
        if no_window:  # SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, 6.5.2)
            told: bytes = self._conn.data_to_send()
            self._socket.sendall(told + b"\0\0\6\4\0" + bytes(4) + b"\0\4" + bytes(4))
        self.answers: dict[int, Answer] = {}
        self.ended: set[int] = set()
        self.goaway: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_of: object) -> None:
        self._socket.close()

    def send(self, path: str, body: bytes, *headers: tuple[str, str], ends: bool = True, method: str = "POST") -> int:
        """Send a request and return its stream. With `ends` false the request stays open."""
        fields = [(b"host", b"x"), *((name.encode(), value.encode()) for name, value in headers)]
        stream = self._conn.send_request(method.encode(), path.encode(), b"2", fields)
        if body:
            stream.send_data(body)
        if ends:
            stream.end_message()
        self._socket.sendall(self._conn.data_to_send())
        return int(stream.stream_id)

    def send_head(self, path: str, *headers: tuple[str, str]) -> int:
        """Send a POST whose HEADERS frame ends the stream. Returns its stream."""
        fields = [(b"host", b"x"), *((name.encode(), value.encode()) for name, value in headers)]
        self._socket.sendall(self._conn.data_to_send())
        stream = self._conn.send_request(b"POST", path.encode(), b"2", fields)
        frame = bytearray(self._conn.data_to_send())
        start = frame.index(b"\1\4" + stream.stream_id.to_bytes(4, "big"))  # HEADERS, END_HEADERS
        frame[start + 1] |= 1  # END_STREAM
        self._socket.sendall(frame)
        return int(stream.stream_id)

    def open_window(self, stream: int) -> None:
        """Open the flow-control windows of the connection and the stream."""
        update = b"".join(
            b"\0\0\4\x08\0" + each.to_bytes(4, "big") + (2**30).to_bytes(4, "big") for each in (0, stream)
        )
        self._socket.sendall(update)

    def reset(self, stream: int) -> None:
        """Cancel a request."""
        self._conn.stream(stream).reset(8)  # CANCEL
        self._socket.sendall(self._conn.data_to_send())

    def answer(self, stream: int) -> Answer:
        """Run the server until a request has its response."""
        self._served.during(lambda: self._until(stream))
        return self.answers[stream]

    def post(self, path: str, body: bytes, *headers: tuple[str, str]) -> Answer:
        """Send a request and return its response."""
        return self.answer(self.send(path, body, *headers))

    def _until(self, stream: int) -> None:
        while stream not in self.ended:
            data = self._socket.recv(65_536)
            assert data, "the server closed the connection"
            self._conn.receive_data(data)
            while (event := self._conn.next_event()) is not zttp.NEED_DATA:
                self._take(event)
            if told := self._conn.data_to_send():
                self._socket.sendall(told)

    def _take(self, event: Any) -> None:  # noqa: ANN401 # zttp's events
        if isinstance(event, zttp.Response):
            headers = {name.decode(): value.decode() for name, value in event.headers}
            self.answers[event.stream_id] = Answer(event.status_code, headers, b"", {})
        elif isinstance(event, zttp.Data):
            self.answers[event.stream_id].body += event.data
        elif isinstance(event, zttp.EndOfMessage):
            trailers = {name.decode(): value.decode() for name, value in getattr(event, "trailers", None) or []}
            self.answers[event.stream_id].trailers = trailers
            self.ended.add(event.stream_id)
        elif isinstance(event, zttp.GoAway):
            self.goaway = event.last_stream_id


@dataclass(frozen=True)
class Spoken:
    """A protocol, HTTP version and codec of a client."""

    media_type: str
    http2: bool = False

    @property
    def is_json(self) -> bool:
        """Whether messages are JSON."""
        return self.media_type.endswith("json")

    @property
    def has_envelopes(self) -> bool:
        """Whether messages have envelopes."""
        return "grpc" in self.media_type

    def wrapped(self, message: bytes) -> bytes:
        """Return the body of a unary call."""
        if not self.has_envelopes:
            return message
        return base64.b64encode(enveloped(message)) if "-text" in self.media_type else enveloped(message)

    def call(self, served: Wire, path: str, message: bytes, **headers: str) -> tuple[int, bytes, str]:
        """Call a unary method. Returns its gRPC status, its response message and the error message."""
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        if self.http2:
            with Http2(served) as connection:
                fields = [("content-type", self.media_type), ("te", "trailers"), *named]
                answer = connection.post(path, self.wrapped(message), *fields)
        else:
            fields = [("content-type", self.media_type), *named]
            answer = http1(served, path, self.wrapped(message), *(f"{name}: {value}" for name, value in fields))
        return self.read(answer)

    def read(self, answer: Answer) -> tuple[int, bytes, str]:
        """Return the gRPC status, the message and the error message of a unary response."""
        if not self.has_envelopes:
            if answer.status == 200:
                return 0, answer.body, ""
            error = msgspec.json.decode(answer.body)
            return NUMBERS[error["code"]], b"", error.get("message", "")
        assert answer.status == 200, answer
        body = answer.body
        if "-text" in self.media_type:  # several pieces, each with its own padding
            body = b"".join(base64.b64decode(body[at : at + 4]) for at in range(0, len(body), 4))
        found = envelopes(body)
        trailers = answer.trailers
        if "-web" in self.media_type:
            flags, last = found.pop()
            assert flags == 0x80
            trailers = dict(line.split(": ", 1) for line in last.decode().splitlines())
        message = found[0][1] if found else b""
        return int(trailers["grpc-status"]), message, trailers.get("grpc-message", "")


NUMBERS: Final = {
    "canceled": 1,
    "unknown": 2,
    "invalid_argument": 3,
    "deadline_exceeded": 4,
    "not_found": 5,
    "permission_denied": 7,
    "resource_exhausted": 8,
    "unimplemented": 12,
    "internal": 13,
    "unavailable": 14,
    "unauthenticated": 16,
}
WIRES: Final = [
    Spoken("application/json"),
    Spoken("application/proto"),
    Spoken("application/grpc-web"),
    Spoken("application/grpc-web+proto"),
    Spoken("application/grpc-web+json"),
    Spoken("application/grpc-web-text"),
    Spoken("application/proto", http2=True),
    Spoken("application/json", http2=True),
    Spoken("application/grpc", http2=True),
    Spoken("application/grpc+json", http2=True),
    Spoken("application/grpc-web+proto", http2=True),
]


def wire_name(spoken: Spoken) -> str:
    """Return the test id of a protocol."""
    return f"{spoken.media_type.removeprefix('application/')} on HTTP/{2 if spoken.http2 else 1}"


JSON: Final = Spoken("application/json")
PROTO: Final = Spoken("application/proto")
every_wire: Final = pytest.mark.parametrize("spoken", WIRES, ids=wire_name)


def counted(served: Wire) -> Counters:
    """Return the counters of the Titanic model."""
    prediction = served.app.fast_path_handlers["/api/predict"]
    assert isinstance(prediction, RestHandler)
    return prediction.runner.counters


def rest(served: Wire, document: object, path: str = "/api/predict") -> Any:  # noqa: ANN401 # JSON
    """Return the JSON response of a REST request."""
    with served.connect() as connection:
        connection.sendall(post(path, document))
        [(_, _, body)] = served.read(connection)
    return msgspec.json.decode(body)


def encoded(spoken: Spoken, message: Any) -> bytes:  # noqa: ANN401 # a protobuf message
    """Return a message in the client's codec."""
    return json_format.MessageToJson(message).encode() if spoken.is_json else message.SerializeToString()


def decoded(spoken: Spoken, kind: str, data: bytes) -> Any:  # noqa: ANN401 # JSON
    """Return a response message as JSON, like REST's."""
    if spoken.is_json:
        return msgspec.json.decode(data)
    return json_format.MessageToDict(KINDS[kind].FromString(data), always_print_fields_with_no_presence=True)


def tensors(rows: int = 1, *, raw: bool) -> inference_pb2.ModelInferRequest:
    """Return a ModelInfer request with `rows` copies of the passenger."""
    asked = inference_pb2.ModelInferRequest(model_name="titanic")
    for name, datatype in DATATYPES.items():
        tensor = asked.inputs.add(name=name, datatype=datatype, shape=[rows, 1])
        value = PASSENGER[name]
        if datatype == "BYTES":
            blob, kept = struct.pack("<I", len(value)) + value.encode(), value.encode()
        else:
            blob, kept = struct.pack("<q" if datatype == "INT64" else "<f", value), value
        if raw:
            asked.raw_input_contents.append(blob * rows)
        else:
            field = {"INT64": "int64_contents", "FP32": "fp32_contents", "BYTES": "bytes_contents"}[datatype]
            getattr(tensor.contents, field).extend([kept] * rows)
    return asked
