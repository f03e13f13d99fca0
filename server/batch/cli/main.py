"""Run `python -m server score`: score a file and report the counts."""

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from server.batch.cli.arguments import task_of
from server.batch.cli.checkpoint import PartsError
from server.batch.cli.local_file import score_file
from server.batch.cli.parts import score_parts
from server.batch.cli.remote import RemoteError
from server.batch.cli.task import Task
from server.errors import ModelError, RequestError, SettingsError
from server.models.quoting import quoted_names


class _Signals:
    """Signal handlers that raise KeyboardInterrupt, so that unfinished files are removed."""

    number = 0
    """Number of the received signal, 0 if none."""

    def __init__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    """Score a file. Returns the exit code; messages go to standard error."""
    signals = _Signals()
    task = None
    try:
        task = task_of(arguments)
        result = score_parts(task) if task.parts is not None else score_file(task)
    except BaseException as error:
        if signals.number:  # libraries may have replaced the KeyboardInterrupt by an error of their own
            _print("interrupted" + ("" if task is None or task.parts is None else "; run the command again to resume"))
            return 128 + signals.number
        if task is None or not isinstance(error, Exception):
            raise
        _print(_message(error, task))
        return 1
    output = task.output or task.parts or "standard output"
    counts = result.counts
    if result.omitted_columns:
        _print(f"columns omitted, because no format can represent their types: {quoted_names(result.omitted_columns)}")
    numbers = f"{counts.read:,} rows read, {counts.scored:,} scored, {counts.failed:,} failed"
    _print(f"{numbers} ({result.served}): {output}")
    return 0


def _message(error: Exception, task: Task) -> str:
    """Return the message for an error."""
    if isinstance(error, OSError):
        return f"{error.filename or task.input}: {error.strerror or error}"
    if isinstance(error, ModelError | SettingsError | RemoteError):
        return str(error)
    name = task.input or "standard input"
    if isinstance(error, RequestError):
        return f"{name}: {error.message.removeprefix('body: ')}"
    if isinstance(error, PartsError):
        return f"{name}: {error}"
    return f"{name}: unexpected error: {type(error).__name__}: {error}"


def _print(message: str) -> None:
    if sys.stderr is None:  # print() writes to standard output if `file` is None
        return
    with suppress(OSError):  # the reader of standard error may have ended
        print(f"score: {message}", file=sys.stderr)  # a command's messages are no log
