"""Threads that do not delay the end of the process."""

import asyncio
import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

T = TypeVar("T")
_LOWEST_PRIORITY: Final = 19


class UnjoinedExecutor(ThreadPoolExecutor):
    """A thread pool whose shutdown returns at once, even if its threads still work.

    The interpreter joins the threads of every pool when it ends; `server.http.shutdown` ends the process before that.
    """

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 # its base's
        """Accept no more work. Running work goes on."""
        super().shutdown(wait=False, cancel_futures=cancel_futures)


async def in_new_thread(function: Callable[[], T]) -> T:
    """Return the result of `function`, run in a new thread.

    However long it takes, it does not occupy a pool's thread.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            resolve = partial(done.set_result, function())
        except BaseException as error:  # noqa: BLE001 # raised by the coroutine that waits
            resolve = partial(done.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: no coroutine waits
            loop.call_soon_threadsafe(lambda: None if done.done() else resolve())

    threading.Thread(target=run, name="apart", daemon=True).start()
    return await done


class SharedWork:
    """Runs work in threads, once for all requests that need the same work concurrently.

    It belongs to one event loop.
    """

    def __init__(self) -> None:
        """Create an empty table of running work."""
        self._running: dict[Hashable, asyncio.Task[Any]] = {}

    async def run(self, function: Callable[..., T], *arguments: Hashable) -> T:
        """Return the result of `function` called with `arguments`.

        If the same call is running, return its result.
        """
        call = (function, *arguments)
        running: asyncio.Task[T] | None = self._running.get(call)
        if running is None:
            running = self._running[call] = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
            running.add_done_callback(lambda done: self._end(call, done))
        return await asyncio.shield(running)  # a cancelled request does not stop it for the others

    def _end(self, call: Hashable, done: "asyncio.Task[Any]") -> None:
        del self._running[call]
        if not done.cancelled():
            done.exception()  # retrieved: perhaps no request waits any more


def lower_priority(thread: threading.Thread | None = None) -> None:
    """Give a thread, by default the current one, the lowest priority. Linux only."""
    thread_id = threading.get_native_id() if thread is None else thread.native_id
    with suppress(OSError, AttributeError, TypeError):
        os.setpriority(os.PRIO_PROCESS, thread_id or 0, _LOWEST_PRIORITY)
