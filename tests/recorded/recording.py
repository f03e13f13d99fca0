"""Record the responses of a checkout's server: `record` runs every case."""

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypedDict

from tests.recorded import normalise, startup
from tests.recorded.catalogue import all_cases
from tests.recorded.exchange import Case, Json
from tests.recorded.server_process import ServerProcess
from tests.recorded.settings import SERVERS, write_versions

START: Final = "start"
"""Interface name of rejected starts and of logs."""


_LEFT_OUT: Final = ("event loop", "Waiting for connections to close")


class Response(TypedDict):
    """The recording of one case."""

    interface: str
    request: str
    response: Json


Recording = dict[str, Response]
"""Responses by case name."""


def record(folder: Path) -> Recording:
    """Start the server of the checkout `folder`, return its responses, and stop it."""
    cases = all_cases()
    with tempfile.TemporaryDirectory() as temporary:
        versions = Path(temporary) / "versions"
        write_versions(folder / "models", versions)
        found = _record(folder, Path(temporary), versions, cases)
    starts = {
        name: Response(interface=START, request=START, response=ended)
        for name, ended in startup.rejected(folder).items()
    }
    return found | starts


def _record(folder: Path, temporary: Path, versions: Path, cases: Sequence[Case]) -> Recording:
    found: Recording = {}
    with ExitStack() as stack:
        processes: dict[str, ServerProcess] = {}
        for name, settings in SERVERS.items():
            changes = {key: value.replace("{versions}", str(versions)) for key, value in settings.items()}
            processes[name] = ServerProcess(folder, changes, temporary / f"{name}.log")
            stack.callback(processes[name].kill)
        addresses = {name: process.address() for name, process in processes.items()}
        for case in cases:
            try:
                response = case.respond(addresses[case.server])
            except Exception as error:
                raise RuntimeError(f"{case.name}: {processes[case.server].log()[-2000:]}") from error
            found[case.name] = Response(interface=case.interface, request=case.request, response=response)
        for name, process in processes.items():
            ended: Json = {"exit code": process.stop(), "log": _log(process, str(temporary))}
            found[f"start: log of {name}"] = Response(interface=START, request=START, response=ended)
    return found


def _log(process: ServerProcess, temporary: str) -> list[Json]:
    """Return the sorted lines of a log: two requests may end in either order.

    Lines about stalls of the event loop, which depend on the machine, and about waiting for connections are left out.
    """
    lines = normalise.log(process.log(), [temporary]).splitlines()
    return [*sorted(line for line in lines if not any(words in line for words in _LEFT_OUT))]


def by_interface(recording: Recording) -> dict[str, int]:
    """Return the number of responses for each interface."""
    return dict(sorted(Counter(each["interface"] for each in recording.values()).items()))


def write(recording: Recording, path: Path) -> None:
    """Write a recording as JSON; equal recordings give equal bytes."""
    path.write_text(json.dumps(recording, indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> Recording:
    """Read a recording from a file."""
    recording: Recording = json.loads(path.read_bytes())
    return recording
