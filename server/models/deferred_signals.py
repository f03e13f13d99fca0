"""Defer signals while onnxruntime runs: a handler that raises within a run would end the process."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Call the handlers of signals after the block instead of within it; for programs whose handlers raise.

    onnxruntime calls `PyObject_Str` for each string of its input, which runs pending handlers. It does not check the
    result: an exception there is a segmentation fault. Handlers run in the main thread only, so the block changes
    nothing in other threads.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[tuple[int, FrameType | None]] = []
    handlers = {number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}
    try:
        for number in handlers:
            signal.signal(number, lambda number, frame: pending.append((number, frame)))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in pending[:1]:
            handlers[signal.Signals(number)](number, frame)
