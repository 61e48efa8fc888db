"""The plan of 14 million catalogue rows: time and memory, in a fresh process.

The catalogues are drawn (see catalogues.py); what the plan wants to read of the tars is made up in
memory, so the disk is not in the time, and neither is the scan.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from fastbucket.catalogue import VERSION

from .. import catalogues, corpora, process, profiled
from ..figures import Bench, versions
from ..options import parse

QUICK_ARCHIVES = 20
ROUNDS = 3


def main() -> None:
    options = parse(__doc__)
    archives = QUICK_ARCHIVES if options.quick else catalogues.ARCHIVES
    folder = options.work / "catalogues" / f"{archives}-v{VERSION}"
    catalogues.make(folder, archives)
    bench = Bench("plan", options.quick, versions(["fastbucket", "numba", "numpy", "pyarrow"]))
    rounds = []
    for _ in range(min(options.rounds, ROUNDS)):
        state = corpora.scratch(options, "plan")
        rounds.append(
            process.call(measure, folder=str(folder), archives=archives, state=str(state))
        )
    for metric in ("read", "make", "write", "seconds"):
        bench.show("plan", metric, [r[metric] for r in rounds], "s")
    bench.show("plan", "peak", [r["VmHWM"] for r in rounds], "MB")
    bench.show("plan", "peak without mapped files", [r["own"] for r in rounds], "MB")
    bench.show("source", "rows", rounds[0]["rows"], "rows")
    bench.show("source", "kept", rounds[0]["kept"], "rows")
    for name, share in process.call(profile, folder=str(folder), archives=archives):
        bench.show(name, "profile", share, "share of the time")


def measure(folder: str, archives: int, state: str) -> dict[str, Any]:
    """Seconds by part, rows, and memory in MB."""
    phantom()
    from fastbucket import Recipe, catalogue, planfile, planning

    watch = Watch()
    clock = [time.perf_counter()]
    tables = [
        catalogue.read(catalogues.path(Path(folder), number), catalogues.STAMP)
        for number in range(archives)
    ]
    clock.append(time.perf_counter())
    names = [catalogues.archive(number) for number in range(archives)]
    plan = planning.make(names, tables, Recipe())
    clock.append(time.perf_counter())
    planfile.write(plan, tables, Path(state))
    clock.append(time.perf_counter())
    return {
        "read": clock[1] - clock[0],
        "make": clock[2] - clock[1],
        "write": clock[3] - clock[2],
        "seconds": clock[3] - clock[0],
        "rows": int(plan.starts[-1]),
        "kept": int(plan.order.size),
        "own": watch.end(),
        **process.memory(),
    }


def profile(folder: str, archives: int) -> list[tuple[str, float]]:
    phantom()
    from fastbucket import Recipe, catalogue, planning

    def work() -> None:
        tables = [
            catalogue.read(catalogues.path(Path(folder), number), catalogues.STAMP)
            for number in range(archives)
        ]
        names = [catalogues.archive(number) for number in range(archives)]
        planning.make(names, tables, Recipe())

    return profiled.top(work)


def phantom() -> None:
    """Plans read from tars that are not there."""
    from fastbucket.sources import KINDS

    KINDS["tar"] = catalogues.Phantom  # type: ignore[assignment]


class Watch:
    """The largest memory without mapped files, in MB, by a thread that looks every 50 ms."""

    def __init__(self) -> None:
        self.largest, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        if os.path.exists("/proc/self/status"):
            self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            self.largest = max(self.largest, process.memory()["RssAnon"])

    def end(self) -> float:
        self._ended.set()
        return self.largest


if __name__ == "__main__":
    main()
