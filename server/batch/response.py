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
from server.batch.pipes import AnswerPipe, BodyPipe
from server.codecs.tables.media_types import CSV, TAB_SEPARATED, Form
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
LAST_WORDS_S: Final = 0.1
"""Seconds between the error's text and the close of the connection."""
_LOOK_S: Final = 0.25
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

    def __init__(self, asked: BatchOptions, settings: Settings, runner: Runner, scope: Scope, send: Send) -> None:
        """Respond to the request of `scope` with the options `asked`. Count the file in `runner.counters`."""
        self._asked = asked
        self._settings = settings
        self._counters = runner.counters
        self._drift = runner.drift
        self._scope = scope
        self._send = send
        self._form: Form | None = None
        self._left_out: Callable[[], Collection[str]] = tuple
        self._started = False
        self._is_read = False
        """Whether the whole body was received."""
        extensions = scope.get("extensions", {})
        self._trails = EXTENSION in extensions and accepts_trailers(scope)
        self._ends = extensions.get(BREAK_OFF)
        if self._ends is not None:
            self._ends.lift_timeout()  # a file may take long; `Pace` limits the time instead
        if scope["http_version"] == "2":  # uvicorn sends trailers only if the request has this header
            scope["headers"].append((b"te", b"trailers"))

    async def answer(self, executor: Executor, timeout_s: float | None, receive: Receive) -> None:
        """Read the body, score it in a thread of `executor`, and send the scored rows.

        An error before the response begins becomes an error response. A later error aborts the response.
        """
        from server.batch.job import Job

        job = Job(self._asked, self._settings, self._drift)
        self._left_out = lambda: job.left_out
        began_s = asyncio.get_running_loop().time()
        failed = await self._scored(job, executor, timeout_s, receive)
        self._count(job, failed, asyncio.get_running_loop().time() - began_s)
        words = b"" if failed is None else job.error_trailer_bytes(failed)
        job.close()
        if failed is not None and self._started:
            try:
                await self._break_off(failed, words, receive)
            except asyncio.CancelledError:  # the event loop is stopping: there is no time to wait for the client
                if self._ends is None:
                    raise
                self._ends.cut_off()
        elif failed is not None:
            await asgi_response(envelope(failed))(self._scope, receive, self._send)

    async def _scored(
        self, job: "Job", executor: Executor, timeout_s: float | None, receive: Receive
    ) -> RequestError | None:
        """Score the file and send the whole response. Return the error that ended it, or None."""
        window_s = _PACE_WINDOW * self._settings.max_idle_s + 2 * _LOOK_S
        pace = Pace(self._settings.min_bytes_per_s, window_s, asyncio.get_running_loop().time)
        answer = AnswerPipe(self._send_part, pace)
        body = BodyPipe(self._settings.max_spool_bytes, answer.unread_s)
        feeding = asyncio.ensure_future(_feed(receive, body, pace))
        work = asyncio.get_running_loop().run_in_executor(
            executor, job.run, body, lambda: body.is_dry, answer, self._begin
        )
        try:
            async with asyncio.timeout(timeout_s):
                await self._moving(work, feeding, body, pace, lambda: body.moved + answer.moved + job.counts.read)
                await self._end(job, self._settings.max_idle_s)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # every error goes to the client
            late = DeadlineExceeded("the deadline passed before the response was complete")
            failed = failure(late if isinstance(error, TimeoutError) else error, self._scope["headers"])
            body.fail(failed)
            answer.fail(failed)
            job.stop()
            work.add_done_callback(_retrieve)
            if not isinstance(error, asyncio.CancelledError):  # no time to wait if the event loop is stopping
                await asyncio.wait([work])
            return failed
        finally:
            self._is_read = body.is_whole
            feeding.cancel()
            feeding.add_done_callback(_retrieve)
            body.close()
        return None

    async def _moving(
        self,
        work: asyncio.Future[None],
        feeding: asyncio.Future[None],
        body: BodyPipe,
        pace: Pace,
        moved: Callable[[], int],
    ) -> None:
        """Wait until `work` is done, and check the progress meanwhile.

        Raises the error of `work`, and the error of `feeding`, which always ends with one. Raises Canceled if the
        client disconnected: `feeding` does not detect this while the pipe has no room for the body. Raises
        DeadlineExceeded if `moved()` does not change for `max_idle_s`, and RequestTimeout if the client is slower than
        the minimum pace.
        """
        clock, idle_s = asyncio.get_running_loop().time, self._settings.max_idle_s
        seen, since_s = moved(), clock()
        while not work.done():
            ended, _ = await asyncio.wait([work, feeding], timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                break
            if feeding in ended:
                feeding.result()
            if self._ends is not None and self._ends.is_lost():
                awaited = "response" if body.is_whole else "file"
                raise Canceled(f"the client disconnected before the {awaited} was complete")
            if moved() != seen:
                seen, since_s = moved(), clock()
            elif clock() - since_s >= idle_s:
                raise _stands_still(idle_s)
            pace.check()
        work.result()

    def _begin(self, form: Form) -> None:
        self._form = form

    async def _send_part(self, data: bytes) -> None:
        if not self._started:
            await self._start()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _start(self) -> None:
        self._started = True
        assert self._form is not None  # noqa: S101 # the job calls `_begin` before it writes
        tabs = self._form is CSV and self._asked.answer_delimiter == "\t"
        headers = [
            (b"content-type", (TAB_SEPARATED if tabs else self._form.media_type).encode()),
            (PREFIX.encode() + b"model", self._asked.model.name.encode()),
            (PREFIX.encode() + b"version", self._asked.model.version.encode()),
        ]
        if self._asked.answer_encoding != "identity":
            headers.append((b"content-encoding", self._asked.answer_encoding.encode()))
        if left_out := ", ".join(quote(name) for name in self._left_out())[:_LEFT_OUT_BYTES]:
            headers.append((PREFIX.encode() + b"left-out", left_out.encode()))
        if self._trails:
            headers.append((b"trailer", ", ".join(PREFIX + name for name in _COUNTS).encode()))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": self._trails})

    async def _end(self, job: "Job", idle_s: float) -> None:
        """End the response, and send the counts as trailers.

        Raises DeadlineExceeded if the client does not read the rest of the response within `idle_s`.
        """
        try:
            async with asyncio.timeout(idle_s):
                if not self._started:  # a response of no rows may have no bytes
                    await self._start()
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                if self._trails:
                    trailers = [((PREFIX + name).encode(), b"%d" % n) for name, n in job.counts.named().items()]
                    await self._send({"type": EXTENSION, "headers": trailers})
        except TimeoutError:
            raise _stands_still(idle_s) from None

    async def _break_off(self, failed: RequestError, words: bytes, receive: Receive) -> None:
        """Send the error `words`, then abort the response, which thus is not complete.

        The rest of the body is read for up to LINGER_S: if a connection is closed while the client sends, TCP resets
        it, and the client may lose the last bytes. The connection is not closed immediately after the error either: the
        Workers runtime then drops the bytes that it has not forwarded. Both waits are limited, so that a client that
        reads nothing can't delay the end.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                if words:
                    await self._send({"type": "http.response.body", "body": words, "more_body": True})
                while not self._is_read and (await receive()).get("more_body", False):
                    pass
            async with asyncio.timeout(LAST_WORDS_S):
                await wait_for_disconnect(receive)
        if self._ends is None:
            raise failed  # other ASGI servers abort the connection if the application raises
        self._ends.break_off()

    def _count(self, job: "Job", failed: RequestError | None, took_s: float) -> None:
        """Count the file as one request with all of its rows, and log it."""
        counts, counters = job.counts, self._counters
        counters.runs += counts.runs
        counters.rows += counts.scored
        counters.file_rows += counts.scored
        counters.file_rows_failed += counts.failed
        if failed is None:
            counters.requests += 1
            counters.files += 1
            counters.request_ns += int(took_s * 1e9)
        else:
            counters.fail(failed, int(took_s * 1e9))
        model = self._asked.model
        if (observation := current.get()) is not None:
            observation.add_rows(model.name, model.version, counts.read)
            observation.error = failed
        names, inputs = model.signature.by_name, self._settings.log_inputs
        end = "scored" if failed is None else f"failed ({log_text(failed, names, inputs=inputs)})"
        _log.info(
            "batch %s: %s version %s: %d rows read, %d scored, %d failed in %.2f s",
            end,
            model.name,
            model.version,
            counts.read,
            counts.scored,
            counts.failed,
            took_s,
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


def _retrieve(ended: asyncio.Future[None]) -> None:
    """Retrieve the error of a future that nothing awaits.

    Otherwise asyncio would log it. The client has received the error already.
    """
    if not ended.cancelled():
        drop_tracebacks(ended.exception())


def _stands_still(idle_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"no data of the file arrived and no data of the response was read for {idle_s} s")
