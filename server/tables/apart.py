"""A Parquet or Arrow IPC file, on standard input, to an Arrow IPC stream on standard output: a process of its own.

The library takes what a file states for true: where that is wrong it asks for any amount of memory, or ends the process
that it is in, which must not be the server's. Imports no more of the server than its name, so that it starts at once.
"""

import os
import sys
from contextlib import suppress

_PAGES = "/proc/self/statm"


def main(kind: str, max_bytes: int, batch_rows: int) -> int:
    """Read a file of the `kind` parquet, in batches of so many rows, or ipc, within `max_bytes`. Returns the status."""
    from arro3.io import read_ipc, read_parquet, write_ipc_stream

    _limit(max_bytes)
    try:
        file = sys.stdin.buffer
        table = read_parquet(file, batch_size=batch_rows) if kind == "parquet" else read_ipc(file)
        write_ipc_stream(table, sys.stdout.buffer, compression=None)  # not stated it would be LZ4
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 # the library's panics are no exceptions
        sys.stderr.write(f"\n{error}")
        return 1
    return 0


def _limit(max_bytes: int) -> None:
    """Have no more than `max_bytes` of memory beside what is there now, and leave no core, where there are limits."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with open(_PAGES, encoding="ascii") as file:  # noqa: PTH123 # without an import
            now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + max_bytes, now + max_bytes))


if __name__ == "__main__":
    os._exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
