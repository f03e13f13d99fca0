"""Run the server: `python -m server` reads settings, loads the models and opens the port."""

import gc
import logging
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.http.shutdown import Shutdown
    from server.models.repository import Repository
    from server.settings import Settings
    from server.telemetry.middleware import Observer

MAX_FLUSH_S = 5
"""Maximum seconds to send the last spans to their collector."""
_USAGE = """\
python -m server          serve the models; environment variables configure it (docs/reference/settings.md)
python -m server score    score a file, locally or with a deployed service (score --help)"""


def _interrupted(number: int, _frame: FrameType | None) -> None:
    """Exit with the code of a program that a signal ended."""
    sys.exit(128 + number)


def main(arguments: "Sequence[str]") -> None:
    """Serve until SIGTERM or SIGINT, then complete the requests in flight.

    Ends the process itself, even if its threads still work; the exit code is 1 if startup fails. With `score` as the
    first argument, it scores a file instead.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's library would start threads that never have work here
    if arguments:
        sys.exit(_command(arguments))
    from server.http.shutdown import Shutdown, end

    shutdown = Shutdown()  # first: no thread may start before, and process 1 ignores signals without a handler

    gc.disable()  # until all is loaded: none of it becomes garbage

    from server.errors import ModelError, SettingsError
    from server.settings import from_environment, unknown_variables
    from server.telemetry import logs

    logs.configure(os.environ.get("LIFEBOAT_LOG_FORMAT", ""), inputs=False)  # early, for errors in the settings
    log = logging.getLogger("lifeboat")
    try:
        settings = from_environment(os.environ)
        logs.configure(settings.log_format, inputs=settings.log_inputs)
        logging.getLogger().setLevel(settings.log_level.upper())
        for name in unknown_variables(os.environ):
            log.warning("%s is not a setting of this version and has no effect", name)
        observer = _observer(settings)

        from server.models.load_limits import LoadLimits
        from server.models.repository import Repository
        from server.models.session import run_limits

        limits = LoadLimits(settings.load_timeout_s, settings.max_model_bytes, run_limits(settings.run_timeout_s))
        repository = Repository.load(settings.models, settings.default_model, settings.version_policy, limits)
    except (SettingsError, ModelError) as error:
        log.error("%s", error)  # noqa: TRY400 # the message is complete without a traceback
        end(1)

    end(_serve(repository, settings, observer, shutdown))


def _observer(settings: "Settings") -> "Observer | None":
    """Return the observer of requests; None, without imports, if logs and traces are off.

    Raises SettingsError if a dependency of the traces is missing.
    """
    if settings.log_requests == "none" and not settings.trace:
        return None
    from server.telemetry.middleware import Observer, Sink

    sinks: list[Sink] = []
    if settings.trace:
        from server.telemetry.tracing import Tracing

        sinks.append(Tracing.from_environment(os.environ))  # first: log lines then have its ids
    if settings.log_requests != "none":
        from server.telemetry.access_log import RequestLog

        sinks.append(RequestLog(settings.log_requests, inputs=settings.log_inputs))
    return Observer(sinks, inputs=settings.log_inputs and settings.log_requests != "none")


def _command(arguments: "Sequence[str]") -> int:
    """Run a command instead of the server. Returns the exit code."""
    if arguments[0] == "score":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupted)  # until `score` sets its own handlers: its imports take a while

        from server.batch.cli.main import main as score

        return score(arguments[1:])
    is_help = arguments[0] in {"-h", "--help"}
    print(_USAGE, file=sys.stdout if is_help else sys.stderr)  # the usage text is a command line's output
    return 0 if is_help else 2


def _serve(repository: "Repository", settings: "Settings", observer: "Observer | None", shutdown: "Shutdown") -> int:
    """Open the port and serve until a signal.

    Returns the exit code: 1 if the port can't be opened.
    """
    import uvicorn

    from server.app import create_app
    from server.http.http1 import protocol
    from server.http.server import Server
    from server.http.shutdown import orderly_s

    app = create_app(repository, settings, observer)
    if settings.http2:
        app.rpc.load()  # loaded now, so that no gRPC client waits for it
    gc.freeze()  # loaded objects stay: no collection visits them again
    gc.enable()
    flush_s = min(MAX_FLUSH_S, settings.drain_s / 4) if settings.trace else 0  # part of the drain time, not added to it
    config = uvicorn.Config(
        app if observer is None else observer.app(app),
        host=settings.host,
        port=settings.port,
        loop="auto",
        http=protocol(app.fast_path_handlers, app.draining, app.held, settings, app.rpc.reject),  # type: ignore[arg-type] # uvicorn only calls it
        ws="none",
        lifespan="on" if settings.repository_poll_s else "off",
        access_log=False,
        proxy_headers=False,  # the server never uses the client's address
        server_header=False,
        log_config=None,
        timeout_keep_alive=75,  # longer than a proxy's timeout: the proxy closes first
        timeout_graceful_shutdown=orderly_s(settings.drain_s) - flush_s,  # type: ignore[arg-type] # any number of seconds works
    )
    shutdown.serve(settings.drain_s)
    try:
        Server(config, app.start, app.watchdog).run()
    except SystemExit:  # uvicorn has logged the reason
        address = f"{settings.host} port {settings.port}"
        message = "can't listen on %s: set LIFEBOAT_HOST or PORT to a free address or port"
        logging.getLogger("lifeboat").error(message, address)  # noqa: TRY400
        return 1
    finally:
        if observer is not None:
            observer.close(flush_s)
    return 0


if __name__ == "__main__":
    main(sys.argv[1:])
