"""Process trees to CPU seconds and bytes, and how quiet the machine was meanwhile. Linux alone tells these."""

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
"""The state of a socket that listens, in the kernel's table."""
BYTECODE: Final = Path(__file__).parents[1] / ".build" / "bench" / "bytecode"


@dataclass(frozen=True, slots=True)
class Cores:
    """Which processors the server under test has, and which the load; the same ones where the machine has but one."""

    server: frozenset[int]
    load: frozenset[int]

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """Return the first for the server and the rest for the load."""
        first, *rest = sorted(os.sched_getaffinity(0))
        return cls(frozenset({first}), frozenset(rest or {first}))


def pinned(command: Sequence[str], cores: frozenset[int]) -> list[str]:
    """Return a command that runs on `cores` alone."""
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(cores))), *command]


def bytecode_kept() -> dict[str, str]:
    """Return this process's environment but that Python keeps the bytecode it compiles, as an image has it."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(BYTECODE)}


def spawn(
    command: Sequence[str], cores: frozenset[int], folder: Path, environment: dict[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start a command on `cores`, as the first of a session of its own, its output in `log`."""
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
    """Return the processes that come from `root`: its descendants, and all of its session."""
    found = {root}
    grown = True
    stats = {int(path.name): _stat(path) for path in PROC.iterdir() if path.name.isdecimal()}
    while grown:
        children = {pid for pid, stat in stats.items() if stat and (int(stat[1]) in found or int(stat[3]) == root)}
        grown = not children <= found
        found |= children
    return {pid for pid in found if stats.get(pid)}


def cpu_s(root: int) -> float:
    """Return the CPU seconds that a tree has used, user and system, of children that ended too."""
    return sum(sum(map(int, stat[11:15])) for pid in tree(root) if (stat := _stat(PROC / str(pid)))) / TICKS


def pss_mb(root: int) -> float:
    """Return a tree's proportional set size in MB: its own memory, and its share of what it shares."""
    total = 0
    for pid in tree(root):
        try:
            rollup = (PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue  # it has just ended
        total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total / 1024


def peak_mb(root: int) -> float:
    """Return the most memory that a tree's living processes ever had resident, in MB: the sum of each one's peak."""
    total = 0
    for pid in tree(root):
        try:
            status = (PROC / str(pid) / "status").read_text()
        except OSError:
            continue  # it has just ended
        total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
    return total / 1024


def command(pid: int) -> str:
    """Return a process's command line, empty where it has ended."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def listening(pid: int) -> list[int]:
    """Return the ports of this machine's IPv4 addresses that a process listens on."""
    lines = map(str.split, (PROC / "net" / "tcp").read_text().splitlines()[1:])
    opened = {f"socket:[{line[9]}]": line for line in lines}
    held = [opened.get(str(each.readlink())) for each in (PROC / str(pid) / "fd").iterdir() if each.is_symlink()]
    return [int(line[1].partition(":")[2], 16) for line in held if line and line[3] == _LISTEN]


def busy_s() -> tuple[float, float]:
    """Return the seconds that the machine's processors were busy since boot, and those that the hypervisor took."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, _first_line(PROC / "stat").split()[1:9])
    return (user + nice + system + irq + softirq) / TICKS, steal / TICKS


def described() -> dict[str, str]:
    """Return what a reader must know of the machine to place its figures."""
    model = next((line for line in (PROC / "cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "cpu": model.partition(":")[2].strip() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
    }


def _stat(process: Path) -> list[str]:
    """Return the fields of a stat file after the name: state, parent, group, session, ...; none where it has ended."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _first_line(path: Path) -> str:
    return path.read_text().partition("\n")[0]
