"""POST or PUT /api/batch: a file of rows in, a file of scored rows out, as a stream."""

import asyncio
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from server.asked import Asked, asked_for
from server.counters import Counters
from server.errors import Canceled, DeadlineExceeded, InvalidArgument, RequestError, ResourceExhausted
from server.pipes import AnswerPipe, BodyPipe
from server.repository import Repository
from server.requests import timeout
from server.responses import envelope, failure, response
from server.runner import Runners
from server.settings import Settings
from server.tables.forms import CSV, TAB_SEPARATED, Form
from server.trailers import BREAK_OFF, EXTENSION

if TYPE_CHECKING:
    from server.batch import Job

LINGER_S: Final = 2.0
"""For so long a caller who is being refused may go on sending."""
_log = logging.getLogger("lifeboat.batch")
"""Of the one line that each file leaves."""
PREFIX: Final = "lifeboat-"
"""What the names of this answer's own headers and trailers begin with."""
_COUNTS: Final = ("rows-read", "rows-scored", "rows-failed")


class BatchEndpoint:
    """The routes that take files, for the default model and for a named model, version or label."""

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Answer from the models of `repository`."""
        self._repository = repository
        self._runners = runners
        self._settings = settings
        self._executor: ThreadPoolExecutor | None = None
        self._under_way = 0

    def routes(self) -> list[Route]:
        """Return the routes."""
        model = "/api/models/{model}"
        paths = (
            "/api/batch",
            f"{model}/batch",
            f"{model}/versions/{{version}}/batch",
            f"{model}/labels/{{label}}/batch",
        )
        return [Route(path, self.batch, methods=["POST", "PUT"]) for path in paths]

    async def batch(self, request: Request) -> ASGIApp:
        """Take a file. What can be told from the head alone is refused before a byte of it is read."""
        where = request.path_params
        model = self._repository.resolve(where.get("model"), where.get("version"), where.get("label"))
        if request.scope["http_version"] == "1.0":
            raise InvalidArgument("request: expected HTTP/1.1 or 2: 1.0 can't tell an answer that is broken off")
        if self._under_way >= self._settings.max_batches:
            raise ResourceExhausted(f"{self._under_way} files are being scored; try again")
        await asyncio.to_thread(_import)
        asked = asked_for(model, request.query_params, request.headers)
        return _Answer(self, asked, timeout(request.scope))

    async def run(self, answer: "_Answer", receive: Receive, send: Send) -> None:
        """Score one file in a thread, and count it."""
        if self._executor is None:
            from server.batch import yield_to_others

            self._executor = ThreadPoolExecutor(self._settings.max_batches, "batch", yield_to_others)
        self._under_way += 1
        if self._under_way == 1:
            from server.batch import SWITCH_S

            sys.setswitchinterval(SWITCH_S)
        counters = self._runners[answer.asked.model].counters
        counters.pending += 1
        try:
            await answer.run(self._executor, self._settings, counters, receive, send)
        finally:
            counters.pending -= 1
            self._under_way -= 1


class _Answer:
    """The answer to one file."""

    def __init__(self, endpoint: BatchEndpoint, asked: Asked, timeout_s: float | None) -> None:
        self.asked = asked
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._form: Form | None = None
        self._started = False
        self._trails = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application."""
        self._scope = scope
        self._trails = EXTENSION in scope.get("extensions", {})
        if scope["http_version"] == "2":  # uvicorn sends trailers only to who says that they are read
            scope["headers"].append((b"te", b"trailers"))
        await self._endpoint.run(self, receive, send)

    async def run(
        self, executor: ThreadPoolExecutor, settings: Settings, counters: Counters, receive: Receive, send: Send
    ) -> None:
        """Read the body, score it in a thread of `executor`, send what comes of it."""
        from server.batch import Job

        self._send = send
        job = Job(self.asked, settings)
        answer = AnswerPipe(self._send_part)
        body = BodyPipe(settings.max_spool_bytes, answer.unread_s)
        feeding = asyncio.ensure_future(_feed(receive, body))
        began_s = asyncio.get_running_loop().time()
        work = asyncio.get_running_loop().run_in_executor(
            executor, job.run, body, lambda: body.is_dry, answer, self._begin
        )
        failed: RequestError | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.shield(work)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # whatever it is, the caller is told
            cause = (
                DeadlineExceeded("the deadline passed before the answer was whole")
                if isinstance(error, TimeoutError)
                else error
            )
            failed = failure(cause, self._scope["headers"])
            body.fail(failed)
            answer.fail(failed)
            await asyncio.wait([work])
            work.exception()  # it is the same, or came of it
        finally:
            feeding.cancel()
            body.close()
        self._count(job, counters, failed, asyncio.get_running_loop().time() - began_s)
        if failed is None:
            await self._end(job)
        elif not self._started:
            await response(envelope(failed))(self._scope, receive, self._send)
        elif not isinstance(failed, Canceled):
            await self._break_off(job.last_words(failed), receive)

    def _begin(self, form: Form) -> None:
        self._form = form

    async def _send_part(self, data: bytes) -> None:
        if not self._started:
            await self._start()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _start(self) -> None:
        self._started = True
        assert self._form is not None  # noqa: S101 # the job says so before it writes
        tabs = self._form is CSV and self.asked.answer_delimiter == "\t"
        headers = [
            (b"content-type", (TAB_SEPARATED if tabs else self._form.media_type).encode()),
            (PREFIX.encode() + b"model", self.asked.model.name.encode()),
            (PREFIX.encode() + b"version", self.asked.model.version.encode()),
        ]
        if self.asked.answer_encoding != "identity":
            headers.append((b"content-encoding", self.asked.answer_encoding.encode()))
        if self._trails:
            headers.append((b"trailer", ", ".join(PREFIX + name for name in _COUNTS).encode()))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": self._trails})

    async def _end(self, job: "Job") -> None:
        """End the answer, and tell the counts."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        if self._trails:
            trailers = [((PREFIX + name).encode(), b"%d" % n) for name, n in job.counts.named().items()]
            await self._send({"type": EXTENSION, "headers": trailers})

    async def _break_off(self, words: bytes, receive: Receive) -> None:
        """End in a way that no client takes for success, behind the reason.

        The rest of the body is read for a while: a connection that is closed while its peer sends is reset, and what it
        was sent last may be lost.
        """
        if words:
            await self._send({"type": "http.response.body", "body": words, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while (await receive()).get("more_body", False):
                    pass
        close = self._scope["extensions"].get(BREAK_OFF)
        if close is not None:
            close()
            while (await receive())["type"] != "http.disconnect":
                pass

    def _count(self, job: "Job", counters: Counters, failed: RequestError | None, took_s: float) -> None:
        """Count the file as one request of all of its rows, and log it."""
        counts = job.counts
        counters.runs += counts.runs
        counters.rows += counts.scored
        if failed is None:
            counters.requests += 1
            counters.request_ns += int(took_s * 1e9)
        else:
            counters.fail(failed, int(took_s * 1e9))
        end = "scored" if failed is None else f"failed ({failed.code}: {failed.message})"
        _log.info(
            "batch %s: %s version %s: %d rows read, %d scored, %d failed in %.2f s",
            end,
            self.asked.model.name,
            self.asked.model.version,
            counts.read,
            counts.scored,
            counts.failed,
            took_s,
        )


async def _feed(receive: Receive, body: BodyPipe) -> None:
    """Put the body into the pipe; when all is there, wait for the caller to leave."""
    try:
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                body.fail(Canceled("the caller left before its file was whole"))
                return
            if data := message.get("body", b""):
                await body.put(data)
            more = message.get("more_body", False)
        body.end()
        await receive()
        body.fail(Canceled("the caller left before its answer was whole"))
    except RequestError as error:
        body.fail(error)


def _import() -> None:
    """Import what files need, when the first comes: nobody's prediction waits for it."""
    import server.batch  # noqa: F401
