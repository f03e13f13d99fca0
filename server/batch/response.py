"""Streamed response to one file: scored rows, and an end that clients can verify."""

import asyncio
import logging
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from server.batch.options import BatchOptions
from server.batch.pipes import BodyPipe, ResponsePipe
from server.codecs.tables.media_types import CSV, TAB_SEPARATED, FileFormat
from server.errors import Canceled, DeadlineExceeded, RequestError, drop_tracebacks
from server.http.request_body import body_chunk, wait_for_disconnect
from server.http.request_context import current, fields, log_text
from server.http.responses import asgi_response, envelope, failure
from server.http.trailers import BREAK_OFF, EXTENSION, accepts_trailers
from server.http.transfer_pace import Pace
from server.inference.runner import Runner
from server.settings import Settings

if TYPE_CHECKING:
    from server.batch.job import Job

LINGER_S: Final = 1.0
"""Seconds in which a rejected client may continue to send, and read the error."""
_PACE_WINDOW: Final = 1.25
"""Window of the average pace, in multiples of `max_idle_s`. Above 1, an idle transfer is rejected as idle first."""
CLOSE_DELAY_S: Final = 0.1
"""Seconds between the error's text and the close of the connection."""
_CHECK_S: Final = 0.25
"""Seconds between two checks of progress and of the client's connection."""
PREFIX: Final = "lifeboat-"
"""Prefix of the names of this response's own headers and trailers."""
_LEFT_OUT_BYTES: Final = 1024
"""Maximum bytes of the header that names the columns that can't be passed on."""
_COUNTS: Final = ("rows-read", "rows-scored", "rows-failed")
_log = logging.getLogger("lifeboat.batch")
"""Logger of one line for each file."""


class ScoredFile:
    """The response to one file."""

    def __init__(self, options: BatchOptions, settings: Settings, runner: Runner, scope: Scope, send: Send) -> None:
        """Respond to the request of `scope` with `options`. Count the file in `runner.counters`."""
        self._options = options
        self._settings = settings
        self._counters = runner.counters
        self._drift = runner.drift
        self._scope = scope
        self._send = send
        self._file_format: FileFormat | None = None
        self._omitted_columns: Callable[[], Collection[str]] = tuple
        self._is_started = False
        self._is_read = False
        """Whether the whole body was received."""
        extensions = scope.get("extensions", {})
        self._sends_trailers = EXTENSION in extensions and accepts_trailers(scope)
        self._abort = extensions.get(BREAK_OFF)
        if self._abort is not None:
            self._abort.lift_timeout()  # a file may take long; `Pace` limits the time instead
        if scope["http_version"] == "2":  # uvicorn sends trailers only if the request has this header
            scope["headers"].append((b"te", b"trailers"))

    async def respond(self, executor: Executor, timeout_s: float | None, receive: Receive) -> None:
        """Read the body, score it in a thread of `executor`, and send the scored rows.

        An error before the response begins becomes an error response. A later error aborts the response.
        """
        from server.batch.job import Job

        job = Job(self._options, self._settings, self._drift)
        self._omitted_columns = lambda: job.omitted_columns
        began_s = asyncio.get_running_loop().time()
        error = await self._score(job, executor, timeout_s, receive)
        self._count(job, error, asyncio.get_running_loop().time() - began_s)
        error_bytes = b"" if error is None else job.error_bytes(error)
        job.close()
        if error is not None and self._is_started:
            try:
                await self._break_off(error, error_bytes, receive)
            except asyncio.CancelledError:  # the event loop is stopping: there is no time to wait for the client
                if self._abort is None:
                    raise
                self._abort.cut_off()
        elif error is not None:
            await asgi_response(envelope(error))(self._scope, receive, self._send)

    async def _score(
        self, job: "Job", executor: Executor, timeout_s: float | None, receive: Receive
    ) -> RequestError | None:
        """Score the file and send the whole response. Return the error that ended it, or None."""
        window_s = _PACE_WINDOW * self._settings.max_idle_s + 2 * _CHECK_S
        pace = Pace(self._settings.min_bytes_per_s, window_s, asyncio.get_running_loop().time)
        response_pipe = ResponsePipe(self._send_part, pace)
        body = BodyPipe(self._settings.max_spool_bytes, response_pipe.unread_s)
        feed = asyncio.ensure_future(_feed(receive, body, pace))
        job_future = asyncio.get_running_loop().run_in_executor(
            executor, job.run, body, lambda: body.would_wait, response_pipe, self._begin
        )
        try:
            async with asyncio.timeout(timeout_s):
                await self._wait_until_done(
                    job_future, feed, body, pace, lambda: body.pieces + response_pipe.pieces + job.counts.read
                )
                await self._end(job, self._settings.max_idle_s)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # every error goes to the client
            late = DeadlineExceeded("the deadline passed before the response was complete")
            rejected = failure(late if isinstance(error, TimeoutError) else error, self._scope["headers"])
            body.fail(rejected)
            response_pipe.fail(rejected)
            job.stop()
            job_future.add_done_callback(_retrieve)
            if not isinstance(error, asyncio.CancelledError):  # no time to wait if the event loop is stopping
                await asyncio.wait([job_future])
            return rejected
        finally:
            self._is_read = body.is_whole
            feed.cancel()
            feed.add_done_callback(_retrieve)
            body.close()
        return None

    async def _wait_until_done(
        self,
        job_future: asyncio.Future[None],
        feed: asyncio.Future[None],
        body: BodyPipe,
        pace: Pace,
        count_progress: Callable[[], int],
    ) -> None:
        """Wait until `job_future` is done, and check the progress meanwhile.

        Raises the error of `job_future`, and the error of `feed`, which always ends with one. Raises Canceled if the
        client disconnected: `feed` does not detect this while the pipe has no room for the body. Raises
        DeadlineExceeded if `count_progress()` does not change for `max_idle_s`, and RequestTimeout if the client is
        slower than the minimum pace.
        """
        clock, idle_s = asyncio.get_running_loop().time, self._settings.max_idle_s
        last_count, last_change_s = count_progress(), clock()
        while not job_future.done():
            done, _ = await asyncio.wait([job_future, feed], timeout=_CHECK_S, return_when=asyncio.FIRST_COMPLETED)
            if job_future.done():
                break
            if feed in done:
                feed.result()
            if self._abort is not None and self._abort.is_lost():
                incomplete = "response" if body.is_whole else "file"
                raise Canceled(f"the client disconnected before the {incomplete} was complete")
            if count_progress() != last_count:
                last_count, last_change_s = count_progress(), clock()
            elif clock() - last_change_s >= idle_s:
                raise _idle_error(idle_s)
            pace.check()
        job_future.result()

    def _begin(self, file_format: FileFormat) -> None:
        self._file_format = file_format

    async def _send_part(self, data: bytes) -> None:
        if not self._is_started:
            await self._start()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _start(self) -> None:
        self._is_started = True
        assert self._file_format is not None  # noqa: S101 # the job calls `_begin` before it writes
        tabs = self._file_format is CSV and self._options.response_delimiter == "\t"
        headers = [
            (b"content-type", (TAB_SEPARATED if tabs else self._file_format.media_type).encode()),
            (PREFIX.encode() + b"model", self._options.model.name.encode()),
            (PREFIX.encode() + b"version", self._options.model.version.encode()),
        ]
        if self._options.response_encoding != "identity":
            headers.append((b"content-encoding", self._options.response_encoding.encode()))
        if omitted_columns := ", ".join(quote(name) for name in self._omitted_columns())[:_LEFT_OUT_BYTES]:
            headers.append((PREFIX.encode() + b"left-out", omitted_columns.encode()))
        if self._sends_trailers:
            headers.append((b"trailer", ", ".join(PREFIX + name for name in _COUNTS).encode()))
        await self._send(
            {"type": "http.response.start", "status": 200, "headers": headers, "trailers": self._sends_trailers}
        )

    async def _end(self, job: "Job", idle_s: float) -> None:
        """End the response, and send the counts as trailers.

        Raises DeadlineExceeded if the client does not read the rest of the response within `idle_s`.
        """
        try:
            async with asyncio.timeout(idle_s):
                if not self._is_started:  # a response of no rows may have no bytes
                    await self._start()
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                if self._sends_trailers:
                    trailers = [((PREFIX + name).encode(), b"%d" % n) for name, n in job.counts.as_dict().items()]
                    await self._send({"type": EXTENSION, "headers": trailers})
        except TimeoutError:
            raise _idle_error(idle_s) from None

    async def _break_off(self, error: RequestError, error_bytes: bytes, receive: Receive) -> None:
        """Send `error_bytes`, then abort the response, which thus is not complete.

        The rest of the body is read for up to LINGER_S: if a connection is closed while the client sends, TCP resets
        it, and the client may lose the last bytes. The connection is not closed immediately after the error either: the
        Workers runtime then drops the bytes that it has not forwarded. Both waits are limited, so that a client that
        reads nothing can't delay the end.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                if error_bytes:
                    await self._send({"type": "http.response.body", "body": error_bytes, "more_body": True})
                while not self._is_read and (await receive()).get("more_body", False):
                    pass
            async with asyncio.timeout(CLOSE_DELAY_S):
                await wait_for_disconnect(receive)
        if self._abort is None:
            raise error  # other ASGI servers abort the connection if the application raises
        self._abort.break_off()

    def _count(self, job: "Job", error: RequestError | None, duration_s: float) -> None:
        """Count the file as one request with all of its rows, and log it."""
        counts, counters = job.counts, self._counters
        counters.runs += counts.runs
        counters.rows += counts.scored
        counters.file_rows += counts.scored
        counters.file_rows_failed += counts.failed
        if error is None:
            counters.requests += 1
            counters.files += 1
            counters.request_ns += int(duration_s * 1e9)
        else:
            counters.fail(error, int(duration_s * 1e9))
        model = self._options.model
        if (observation := current.get()) is not None:
            observation.add_rows(model.name, model.version, counts.read)
            observation.error = error
        names, inputs = model.signature.by_name, self._settings.log_inputs
        end = "scored" if error is None else f"failed ({log_text(error, names, inputs=inputs)})"
        _log.info(
            "batch %s: %s version %s: %d rows read, %d scored, %d failed in %.2f s",
            end,
            model.name,
            model.version,
            counts.read,
            counts.scored,
            counts.failed,
            duration_s,
            extra={"fields": fields(self._scope["headers"])},
        )


async def _feed(receive: Receive, body: BodyPipe, pace: Pace) -> None:
    """Write the body to the pipe and count its bytes in `pace`.

    Then wait until the client disconnects, and raise Canceled.
    """
    more = True
    while more:
        with pace.waiting():
            message = await receive()
        data, more = body_chunk(message, "file")
        if data:
            pace.move(len(data))
            await body.put(data)
    body.end()
    await receive()
    raise Canceled("the client disconnected before the response was complete")


def _retrieve(future: asyncio.Future[None]) -> None:
    """Retrieve the error of a future that nothing awaits.

    Otherwise asyncio would log it. The client has received the error already.
    """
    if not future.cancelled():
        drop_tracebacks(future.exception())


def _idle_error(idle_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"no data of the file arrived and no data of the response was read for {idle_s} s")
