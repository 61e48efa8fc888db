"""`Resources`: what a run may use, and what must not decide a byte."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .engines import ENGINES
from .errors import RunError
from .option import option


def available_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Resources:
    """What a run may use. None of it changes a byte of the output."""

    workers: int = option(0, "Worker processes; 0: one for every available CPU.")
    max_errors: int = option(
        -1, "Stop after this many unreadable or undecodable samples; -1: never."
    )
    sample_timeout: float = option(
        60.0, "Seconds a worker may spend on one sample before that is dropped; 0: any time."
    )
    engine: str = option(
        "local", "Where the tasks run: on this machine, or on a Ray cluster.", tuple(ENGINES)
    )
    address: str = option(
        "",
        "With --engine ray: the cluster's address; else RAY_ADDRESS, or the one of this machine.",
    )
    spool: str = option(
        "", "Folder for what fits of streamed sources, until the export is complete; else in OUT."
    )
    allow_pipe: bool = option(False, "Let sources be pipe:COMMAND, which runs in a shell.")

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise RunError(f"workers: {self.workers} is negative")
        if not self.sample_timeout >= 0:
            raise RunError(f"sample_timeout: {self.sample_timeout} seconds are no time")
        if self.engine not in ENGINES:
            raise RunError(f"engine: {self.engine!r} is none of {', '.join(ENGINES)}")
        if self.address and self.engine == "local":
            raise RunError(f"address: {self.address} is of no use to the engine local")

    @property
    def worker_count(self) -> int:
        return self.workers or available_cpus()
