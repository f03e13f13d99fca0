"""Start several fuzzing processes, watch them, and restart a process that an input ended."""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.engine import Progress, write

ROOT: Final = Path(__file__).parents[2]
STILL_S: Final = 90.0
"""Seconds without a new input after which a process is killed.

Generous, because the machine may be busy.
"""
_START_S: Final = 120.0
"""Seconds that the start of a process may take without an input."""
_ROUND: Final = 100_000
"""Inputs after which a process is restarted.

A guided process grows by some 20 kB per input, the server doesn't.
"""
_MOST_ENDS: Final = 10
"""Maximum restarts of one process after faults."""
_POLL_S: Final = 0.2
_REPLAY_S: Final = 300


@dataclass(frozen=True)
class Plan:
    """Plan of a run."""

    targets: Sequence[str]
    folder: Path
    """Folder for findings and corpora."""
    seconds: float
    runs: int
    """Number of inputs that each process mutates; 0: no limit except the time."""
    seed: int
    jobs: int
    plain: bool


@dataclass
class _Job:
    """One process and its targets."""

    number: int
    targets: Sequence[str]
    process: "subprocess.Popen[bytes]"
    progress: Progress
    end_s: float
    rounds: int = 0
    """Number of restarts after a completed round of inputs."""
    ends: int = 0
    counted: int = -1
    counted_at_s: float = 0.0


def run(plan: Plan) -> dict[str, int]:
    """Run the plan. Returns the number of inputs of each target."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    end_s = time.monotonic() + (plan.seconds or float("inf"))
    jobs = [_started(plan, number, end_s) for number in range(min(plan.jobs, len(plan.targets)))]
    try:
        while any([_is_running(plan, job) for job in jobs]):  # noqa: C419 # each call also restarts its process
            time.sleep(_POLL_S)
    finally:
        for job in jobs:
            job.process.kill()
            job.process.wait()
    return {name: count for job in jobs for name, count in zip(job.targets, job.progress.counts, strict=True)}


def _started(plan: Plan, number: int, end_s: float) -> _Job:
    targets = plan.targets[number :: plan.jobs]
    path = plan.folder / f"progress-{number}"
    path.unlink(missing_ok=True)
    process = _process(plan, number, targets, 0, plan.seconds, _round(plan, 0))
    job = _Job(number, targets, process, Progress(path, len(targets)), end_s)
    job.counted_at_s = time.monotonic() + _START_S
    return job


def _round(plan: Plan, counted: int) -> int:
    """Return the number of inputs that a process mutates before its next restart."""
    return min(_ROUND, plan.runs - counted) if plan.runs else _ROUND


def _process(
    plan: Plan, number: int, targets: Sequence[str], starts: int, seconds: float, runs: int
) -> "subprocess.Popen[bytes]":
    options = {
        "targets": ",".join(targets),
        "folder": plan.folder,
        "progress": plan.folder / f"progress-{number}",
        "seed": plan.seed + number + 1000 * starts,
        "seconds": round(seconds),
        "runs": runs,
    }
    command = [sys.executable, "-m", "tests.fuzz.worker", *(f"--{name}={value}" for name, value in options.items())]
    log = (plan.folder / f"log-{number}").open("ab")
    with log:
        return subprocess.Popen([*command, *(["--plain"] if plan.plain else [])], cwd=ROOT, stdout=log, stderr=log)


def _is_running(plan: Plan, job: _Job) -> bool:
    """Check a process; if an input ended it, write the input and restart it.

    Returns False if the job is finished.
    """
    code = job.process.poll()
    now_s = time.monotonic()
    counted = sum(job.progress.counts)
    if code == 0:
        job.rounds += 1
        is_over = now_s >= job.end_s or 0 < plan.runs <= counted
        return not is_over and _restarted(plan, job, counted)
    if code is None:
        if counted != job.counted:
            job.counted, job.counted_at_s = counted, now_s
        if now_s - job.counted_at_s < STILL_S:
            return True
        job.process.kill()
        code = job.process.wait()
        _write_current(plan, job, f"hang: no end after {STILL_S:.0f} s")
    else:
        _write_current(plan, job, f"ended: the process ended with {code}; the log says more")
    job.ends += 1
    if job.ends > _MOST_ENDS or now_s >= job.end_s or 0 < plan.runs <= counted:
        return False
    return _restarted(plan, job, counted)


def _restarted(plan: Plan, job: _Job, counted: int) -> bool:
    """Restart a process for the rest of its time and inputs. Returns True."""
    now_s = time.monotonic()
    left_s = max(1.0, job.end_s - now_s) if plan.seconds else 0.0
    starts = job.rounds + job.ends
    job.process = _process(plan, job.number, job.targets, starts, left_s, _round(plan, counted))
    job.counted_at_s = now_s + _START_S
    return True


def _write_current(plan: Plan, job: _Job, told: str) -> None:
    which, data = job.progress.current()
    write(plan.folder / "found", job.targets[which], data, told)


def confirmed(path: Path) -> str:
    """Run an input again in its own process, without coverage.

    Returns the faults, or "" if there are none.
    """
    command = [sys.executable, "-m", "tests.fuzz", "replay", str(path)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_REPLAY_S)
    except subprocess.TimeoutExpired:
        return f"hang: no end after {_REPLAY_S} s"
    if done.returncode < 0 or done.returncode > 1:
        return f"ended: the process ended with {done.returncode}\n{done.stderr[-2000:]}"
    return done.stdout if done.returncode else ""
