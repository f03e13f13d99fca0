"""Handlers of prediction requests in JSON over REST, one for each model version and interface."""

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final, Generic, TypeVar

from starlette.types import Receive, Scope, Send

from server.codecs.row_estimate import estimates
from server.errors import Canceled, DeadlineExceeded, RequestError, ResourceExhausted
from server.http.handler import SHORT_BYTES, FastPathHandler, min_timeout
from server.http.header_numbers import content_length
from server.http.held_bytes import HELD
from server.http.load_report import REPORT_HEADER, Report, requests_report
from server.http.message import JSON, Body, Headers, HttpResponse
from server.http.request_body import (
    TIMEOUT_HEADER,
    UNSPECIFIED,
    ReceivedBody,
    receive_body,
    timeout,
    wait_for_disconnect,
)
from server.http.responses import asgi_response, envelope, failure
from server.inference.batcher import Receiver, Waiter
from server.inference.runner import InferenceRequest, Runner, Runners
from server.models.repository import Repository
from server.models.session import Model
from server.settings import Settings

_CHECKED_HEADERS: Final = frozenset(
    {b"content-type", b"content-length", b"content-encoding", b"expect", TIMEOUT_HEADER, REPORT_HEADER[0]}
)
"""Headers that the fast path checks. Each can change how the request must be handled."""


class _ReportHeaders(list[tuple[bytes, bytes]]):
    """The headers of a plain request that requests a load report."""


class RestHandler(FastPathHandler):
    """Handler for one model version on one REST interface."""

    media_types: ClassVar[tuple[str, ...]] = (JSON,)
    """Content types that a body may state."""

    def __init__(self, runner: Runner, settings: Settings) -> None:
        """Create a handler for the model of `runner`."""
        super().__init__(settings.max_body_bytes)
        self.runner = runner
        self._estimates = estimates(len(runner.model.signature.columns), settings.max_rows)
        self._plain_types = frozenset(name.encode() for name in (*self.media_types, *UNSPECIFIED))

    def accept_headers(self, headers: Headers, *, http2: bool) -> Headers | None:  # noqa: ARG002 # same for both
        """Return the headers if they only state a type and length, or request a report."""
        plain = headers
        for name, value in headers:
            if name not in _CHECKED_HEADERS:
                continue
            if name == b"content-type":
                if value not in self._plain_types:
                    return None
            elif name == b"content-length":
                if (len(value) > self.short_digits or not value.isdigit()) and not self.is_short(value):
                    return None
            elif name != REPORT_HEADER[0]:
                return None
            elif value == REPORT_HEADER[1]:
                plain = _ReportHeaders(headers)
        return plain

    @abstractmethod
    def decode(self, headers: Headers, body: bytes) -> InferenceRequest[Body]:
        """Decode a request. Raises RequestError."""

    def submit(self, head: Headers, body: bytes, receiver: Receiver[Body], timeout_s: float | None = None) -> None:
        """Queue a whole request; `receiver` gets the response. Raises RequestError."""
        try:
            request = self.decode(head, body)
        except Exception as error:
            self.fail(error)
            raise
        if type(head) is _ReportHeaders:
            receiver = Report(self.runner, receiver)
        self.runner.submit(
            request, receiver, timeout_s if request.timeout_s is None else min_timeout(timeout_s, request.timeout_s)
        )

    def fail(self, error: Exception, head: Any = None) -> None:  # noqa: ANN401, ARG002
        """Count a request that failed before it was queued."""
        self.runner.counters.fail(error)

    def error_response(self, error: RequestError, headers: Headers) -> HttpResponse:  # noqa: ARG002 # same for every client
        """Return the error envelope, with the HTTP status of the error's code."""
        return envelope(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request with a prediction or an error envelope (see `failure`)."""
        try:
            body = await self._run(scope, receive)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # no response has started
            body = envelope(failure(error, scope["headers"]))
        await asgi_response(body)(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive) -> Body:
        """Return the response to a request.

        Raises RequestError; Canceled if the client disconnected.
        """
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        try:
            timeout_s = timeout(scope)
            async with asyncio.timeout(timeout_s):
                body = await receive_body(scope, receive, self.max_body_bytes, self.media_types, self._admit)
            small = body.small(SHORT_BYTES)
        except TimeoutError:
            timeout_error = DeadlineExceeded("the deadline passed before the request was complete")
            self.fail(timeout_error)
            raise timeout_error from None
        except RequestError as error:
            self.fail(error)
            raise
        remaining_s = None if timeout_s is None else max(0.0, timeout_s - (loop.time() - start_s))
        waiter = Waiter[Body]()
        headers = scope["headers"]
        if small is None:
            drop = self._submit_undecoded(headers, body, waiter, remaining_s)
            try:
                return await wait_for_response(waiter, receive)
            finally:
                drop()
        self.submit(_ReportHeaders(headers) if requests_report(headers) else headers, small, waiter, remaining_s)
        del small, body
        scope[HELD].release()
        return await wait_for_response(waiter, receive)

    def admit(self, headers: Headers) -> None:
        """Raise ResourceExhausted, and count it, if the queue has no room for a large body."""
        encoding = "identity"
        for name, value in headers:
            if name == b"content-encoding":
                encoding = value.decode("latin-1")
        if encoding in self._estimates:  # `receive_body` rejects any other encoding
            try:
                self._admit(content_length(headers), encoding)
            except ResourceExhausted as error:
                self.fail(error)
                raise

    def _admit(self, length: int, encoding: str) -> None:
        """Raise ResourceExhausted if the queue has no room for the rows of a large body.

        Call it before the body is read.
        """
        if length > SHORT_BYTES:
            self.runner.check_room(self._estimates[encoding].rows(length))

    def _submit_undecoded(
        self, headers: Headers, body: ReceivedBody, receiver: Receiver[Body], timeout_s: float | None
    ) -> Callable[[], None]:
        """Queue a large request undecoded; it is decoded in its turn.

        Return a function that drops the request.
        """
        estimate = self._estimates[body.encoding]
        size = body.size
        if requests_report(headers):
            receiver = Report(self.runner, receiver)

        def decode() -> InferenceRequest[Body]:
            request = self.decode(headers, body.take())
            estimate.learn(size, request.rows)
            return request

        return self.runner.submit_undecoded(decode, estimate.rows(size), receiver, timeout_s)


async def wait_for_response(waiter: Waiter[Body], receive: Receive) -> Body:
    """Return the response to a request that was read completely.

    Raises the error of the run; Canceled if the client disconnected.
    """
    disconnect = asyncio.ensure_future(_cancel_on_disconnect(waiter, receive))
    try:
        return await waiter.result()
    finally:
        disconnect.cancel()


async def _cancel_on_disconnect(waiter: Waiter[Body], receive: Receive) -> None:
    await wait_for_disconnect(receive)
    waiter.deliver(Canceled("the client disconnected before the response"))


def paths(repository: Repository, root: str, *, labels: bool = False) -> Iterator[tuple[str, Model]]:
    """Yield the path below `root` and the model of every served model, version and label.

    Labels are included only with `labels`.
    """
    for name, versions in repository.models.items():
        yield f"{root}/{name}", versions.default
        for number, model in versions.models.items():
            yield f"{root}/{name}/versions/{number}", model
        for label, number in versions.labels.items() if labels else ():
            yield f"{root}/{name}/labels/{label}", versions.models[number]


HandlerT = TypeVar("HandlerT", bound=FastPathHandler)


class HandlerCache(Generic[HandlerT]):
    """Request handlers of one interface by model version, created on first use."""

    def __init__(self, runners: Runners, make: Callable[[Runner], HandlerT]) -> None:
        """Create a missing handler with `make`."""
        self._runners = runners
        self._make = make
        self._handlers: dict[Runner, HandlerT] = {}

    def __getitem__(self, model: Model) -> HandlerT:
        """Return the handler for `model`, and create it if it is missing."""
        runner = self._runners[model]
        if runner not in self._handlers:
            self._handlers[runner] = self._make(runner)
        return self._handlers[runner]

    def remove_unserved(self) -> None:
        """Remove the handlers of models that are no longer served."""
        served = set(self._runners)
        self._handlers = {runner: handler for runner, handler in self._handlers.items() if runner in served}
