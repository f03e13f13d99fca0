"""`python -m server`: settings, logging, the models, then the port."""

import gc
import logging
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.observed import Observer
    from server.repository import Repository
    from server.settings import Settings

MAX_FLUSH_S = 5
"""Seconds that the last spans have at most to reach their collector."""
_USAGE = """\
python -m server          serve the models; environment variables set it up (docs/settings.md)
python -m server score    score a file, here or by a deployed service (score --help)"""


def _exit(_signal: int, _frame: FrameType | None) -> None:
    """End with 0. Before uvicorn takes the signal over, at once; after it has drained, when it raises it again."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # one that comes again would break into the end
    sys.exit(0)


def _interrupted(number: int, _frame: FrameType | None) -> None:
    """End as a program does that a signal ended."""
    sys.exit(128 + number)


def main(arguments: "Sequence[str]") -> None:
    """Serve until SIGTERM or SIGINT; what is in flight then is answered. Ends with 1 where the start is refused.

    With `score` as the first argument, score a file instead.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's; the threads it starts unasked never have work here
    if arguments:
        sys.exit(_command(arguments))
    # First of all: as process 1 of a container, a signal without a handler would be ignored while the models load.
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)

    gc.disable()  # until all is loaded: nothing of it becomes garbage

    from server import logs
    from server.errors import ModelError, SettingsError
    from server.settings import from_environment, unknown

    logs.configure(os.environ.get("LIFEBOAT_LOG_FORMAT", ""), inputs=False)  # already for what is wrong of the settings
    log = logging.getLogger("lifeboat")
    try:
        settings = from_environment(os.environ)
        logs.configure(settings.log_format, inputs=settings.log_inputs)
        logging.getLogger().setLevel(settings.log_level.upper())
        for name in unknown(os.environ):
            log.warning("%s is no setting of this version and has no effect", name)
        observer = _observer(settings)

        from server.repository import Repository

        repository = Repository.load(settings.models, settings.default_model, settings.version_policy)
    except (SettingsError, ModelError) as error:
        log.error("%s", error)  # noqa: TRY400 # the message says it all, a traceback nothing
        sys.exit(1)

    _serve(repository, settings, observer)


def _observer(settings: "Settings") -> "Observer | None":
    """Return what follows requests; None, and nothing imported, where neither the log nor the traces are to have them.

    Raises SettingsError where what they need isn't there.
    """
    if settings.log_requests == "none" and not settings.trace:
        return None
    from server.observed import Observer, Sink

    sinks: list[Sink] = []
    if settings.trace:
        from server.tracing import Tracing

        sinks.append(Tracing.from_environment(os.environ))  # first: lines of the log then have its ids
    if settings.log_requests != "none":
        from server.request_log import RequestLog

        sinks.append(RequestLog(settings.log_requests, inputs=settings.log_inputs))
    return Observer(sinks, inputs=settings.log_inputs and settings.log_requests != "none")


def _command(arguments: "Sequence[str]") -> int:
    """Do what is asked for instead of serving. Returns the exit code."""
    if arguments[0] == "score":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupted)  # until it has its own: what is imported takes a while

        from server.score.command import main as score

        return score(arguments[1:])
    asks = arguments[0] in {"-h", "--help"}
    print(_USAGE, file=sys.stdout if asks else sys.stderr)  # a command line's own voice
    return 0 if asks else 2


def _serve(repository: "Repository", settings: "Settings", observer: "Observer | None") -> None:
    """Open the port and answer until a signal. Ends with 1 where the port can't be had."""
    import uvicorn

    from server.app import create_app
    from server.listening import Listening
    from server.protocol import protocol

    app = create_app(repository, settings, observer)
    if settings.http2:
        app.rpc.load()  # who serves gRPC has callers of it: none of them waits for this
    gc.freeze()  # what was loaded stays: no collection looks at it again
    gc.enable()
    flush_s = min(MAX_FLUSH_S, settings.drain_s / 4) if settings.trace else 0  # of the drain's time: it takes no more
    config = uvicorn.Config(
        app if observer is None else observer.app(app),
        host=settings.host,
        port=settings.port,
        loop="auto",
        http=protocol(app.hot, app.draining, settings.max_header_bytes, http2=settings.http2),  # type: ignore[arg-type] # uvicorn only calls it
        ws="none",
        lifespan="on" if settings.watch_s else "off",
        access_log=False,
        proxy_headers=False,  # nothing here asks for the caller's address
        server_header=False,
        log_config=None,
        timeout_keep_alive=75,  # longer than a proxy's own, so that it is never the server that closes first
        timeout_graceful_shutdown=settings.drain_s - flush_s,  # type: ignore[arg-type] # a wait's, of any number
    )
    try:
        Listening(config, app.start).run()
    except SystemExit as end:
        if end.code:  # uvicorn has logged why
            where = f"{settings.host} port {settings.port}"
            logging.getLogger("lifeboat").error("can't listen on %s: set LIFEBOAT_HOST or PORT to what is free", where)  # noqa: TRY400
            sys.exit(1)
        raise
    finally:
        if observer is not None:
            observer.close(flush_s)


if __name__ == "__main__":
    main(sys.argv[1:])
