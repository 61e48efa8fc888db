"""Fresh processes: on one core, single-threaded, measured from outside.

Standard library alone.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .options import ROOT

SINGLE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VIPS_CONCURRENCY": "1",
    "UV_THREADPOOL_SIZE": "1",
    "RAYON_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
"""One thread each, as one core is all there is."""


LOOK = 0.2
"""Seconds over which cores are compared; idle time is counted in hundredths."""


class Ended(NamedTuple):
    """A process that ended well: what it printed, and its time in seconds."""

    output: str
    wall: float
    cpu: float  # user + system, of its children too


def core() -> int | None:
    """The core that was idlest just now; None where processes cannot be pinned.

    BENCHMARK_CORE names another one. Asked before every process: on a machine that is not ours
    alone, the idle core changes.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    if "BENCHMARK_CORE" in os.environ:
        return int(os.environ["BENCHMARK_CORE"])
    allowed = os.sched_getaffinity(0)
    before = _idle()
    time.sleep(LOOK)
    after = _idle()
    return max(allowed, key=lambda number: after.get(number, 0) - before.get(number, 0))


def _idle() -> dict[int, int]:
    """Idle ticks of every core so far."""
    with open("/proc/stat") as file:
        rows = [line.split() for line in file if line[:3] == "cpu" and line[3].isdigit()]
    return {int(row[0][3:]): int(row[4]) for row in rows}


def run(
    arguments: Sequence[str | Path],
    python: str | Path | None = sys.executable,
    pinned: bool = True,
) -> Ended:
    """Run `python arguments...` (python None: the arguments are the command) to its end.

    Standard error goes to ours. Raises CalledProcessError where it fails.
    """
    command = [*([python] if python else []), *arguments]
    at = core() if pinned else None
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=_environment(pinned),
        preexec_fn=_pin(at),
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ended(done.stdout, wall, cpu)


def dialogue(
    arguments: Sequence[str | Path], python: str | Path, at: int | None
) -> subprocess.Popen[str]:
    """`python arguments...` on core `at`, its standard input and output pipes of text."""
    return subprocess.Popen(
        [str(python), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(True),
        preexec_fn=_pin(at),
    )


def _environment(pinned: bool) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **(SINGLE if pinned else {})}


def _pin(at: int | None) -> Callable[[], None] | None:
    return None if at is None else lambda: os.sched_setaffinity(0, {at})


def stderr(command: Sequence[str]) -> str:
    """What a command says on standard error."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stderr


def call(function: Callable[..., Any], pinned: bool = True, **arguments: Any) -> Any:
    """The result of a function of a module, called in a fresh process, through JSON both ways."""
    spec = sys.modules[function.__module__].__spec__  # its real name, even where it is __main__
    assert spec is not None
    target = f"{spec.name}:{function.__name__}"
    done = run(["-m", "benchmarks.measure", target, json.dumps(arguments)], pinned=pinned)
    return json.loads(done.output)


def memory(process: int | str = "self") -> dict[str, float]:
    """Memory of a process in MB: VmRSS now, VmHWM at most, RssAnon without mapped files."""
    with open(f"/proc/{process}/status") as file:
        rows = [line.split() for line in file if line.startswith(("Vm", "Rss"))]
    return {row[0].rstrip(":"): int(row[1]) * 1024 / 1e6 for row in rows}
