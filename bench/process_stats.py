"""CPU time and memory of process trees, and the load of the machine. Needs Linux's /proc."""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
PROC: Final = Path("/proc")
_LISTEN: Final = "0A"
"""State of a listening socket in /proc/net/tcp."""
BYTECODE: Final = Path(__file__).parents[1] / ".build" / "bench" / "bytecode"


@dataclass(frozen=True, slots=True)
class Cores:
    """Processors for the server under test and for the load.

    They are the same if the machine has only one processor.
    """

    server: frozenset[int]
    load: frozenset[int]

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """Return the first processor for the server and the rest for the load."""
        first, *rest = sorted(os.sched_getaffinity(0))
        return cls(frozenset({first}), frozenset(rest or {first}))


def pinned(command: Sequence[str], cores: frozenset[int]) -> list[str]:
    """Return a command that runs only on `cores`."""
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(cores))), *command]


def bytecode_kept() -> dict[str, str]:
    """Return this process's environment, changed so that Python caches bytecode, as the image has it."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(BYTECODE)}


def spawn(
    command: Sequence[str], cores: frozenset[int], folder: Path, environment: dict[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start a command on `cores`, as the leader of a new session. Its output goes to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            pinned(command, cores),
            cwd=folder,
            env=bytecode_kept() | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def tree(root: int) -> set[int]:
    """Return the process ids of `root`, its descendants, and all processes of its session."""
    found = {root}
    grown = True
    stats = {int(path.name): _stat(path) for path in PROC.iterdir() if path.name.isdecimal()}
    while grown:
        children = {pid for pid, stat in stats.items() if stat and (int(stat[1]) in found or int(stat[3]) == root)}
        grown = not children <= found
        found |= children
    return {pid for pid in found if stats.get(pid)}


def cpu_s(root: int) -> float:
    """Return the CPU seconds of a tree, user and system, including children that have ended."""
    return sum(sum(map(int, stat[11:15])) for pid in tree(root) if (stat := _stat(PROC / str(pid)))) / TICKS


def pss_mb(root: int) -> float:
    """Return a tree's proportional set size (PSS) in MB.

    PSS is the private memory plus a share of the shared memory.
    """
    total = 0
    for pid in tree(root):
        try:
            rollup = (PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue  # the process has just ended
        total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total / 1024


def peak_mb(root: int) -> float:
    """Return the sum of the peak resident memory of a tree's running processes, in MB."""
    total = 0
    for pid in tree(root):
        try:
            status = (PROC / str(pid) / "status").read_text()
        except OSError:
            continue  # the process has just ended
        total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
    return total / 1024


def command(pid: int) -> str:
    """Return a process's command line; empty if the process has ended."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def listening(pid: int) -> list[int]:
    """Return the IPv4 ports that a process listens on."""
    lines = map(str.split, (PROC / "net" / "tcp").read_text().splitlines()[1:])
    opened = {f"socket:[{line[9]}]": line for line in lines}
    held = [opened.get(str(each.readlink())) for each in (PROC / str(pid) / "fd").iterdir() if each.is_symlink()]
    return [int(line[1].partition(":")[2], 16) for line in held if line and line[3] == _LISTEN]


def busy_s() -> tuple[float, float]:
    """Return the busy seconds and the stolen seconds of all processors since boot.

    The hypervisor steals time for other machines.
    """
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, _first_line(PROC / "stat").split()[1:9])
    return (user + nice + system + irq + softirq) / TICKS, steal / TICKS


def described() -> dict[str, str]:
    """Return the properties of the machine that its figures depend on."""
    model = next((line for line in (PROC / "cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "cpu": model.partition(":")[2].strip() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
    }


def _stat(process: Path) -> list[str]:
    """Return the fields of a process's stat file after the name.

    These are state, parent, group, session, and so on. Empty if the process has ended.
    """
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _first_line(path: Path) -> str:
    return path.read_text().partition("\n")[0]
