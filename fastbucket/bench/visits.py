"""Shards of an excerpt, made over and over in one worker, each in turn with its floor.

What disturbs the one disturbs the other, so that their ratio stands on a machine that does other
things too.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from .. import planfile, planning
from ..catalogue import column
from ..engines.local import Local
from ..format import STATE
from ..job import PRELOAD
from ..progress import Progress, Silent
from ..recipe import Recipe
from ..resize import weights
from ..scan import scan
from ..sources import KINDS
from ..sources.locate import archives as locate
from ..state import State
from ..task import ShardTask
from .excerpt import SHARD, Excerpt
from .floor import Codecs, Floor

_SHARD_MEGAPIXELS = 24
"""Large photos make smaller shards, so that some fit the seconds; they take long enough anyway."""

_LEAST_SHARD = 8

_VISITS = 3
"""A median needs as many visits of a shard; there are fewer shards rather than fewer visits."""


class Visit(NamedTuple):
    """One making of a shard: exported samples, bytes of the tar, nanoseconds in all, on the CPU and
    by stage, the floor if it was asked for, and the worker's peak memory, in bytes, before it."""

    images: int
    bytes: int
    nanoseconds: int
    cpu: int
    stages: dict[str, int]
    floor: Floor
    peak_memory: int


class VisitTask:
    """Makes a shard and measures its floor. Task: (shard number, floor wanted, first of a pass)."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._make = ShardTask(setup)
        self._codecs = Codecs(Path(setup["out"]), Recipe.from_json(setup["recipe"]))

    def __call__(self, task: tuple[int, bool, bool], progress: Any) -> Visit:
        number, with_floor, first = task
        if first:  # as in a new worker: otherwise all weights would be known from the last pass
            weights.cache_clear()
        start, cpu = time.perf_counter_ns(), time.process_time_ns()
        record = self._make((number,), progress)[0]
        took, cpu = time.perf_counter_ns() - start, time.process_time_ns() - cpu
        peak = _peak_memory()
        floor = self._codecs.floor(record, number) if with_floor else Floor(0, 0)
        return Visit(record.samples, record.bytes, took, cpu, record.nanoseconds, floor, peak)


class Visited(NamedTuple):
    """Visits of each shard, and what the plan says of their images: mean bytes and megapixels."""

    shards: list[list[Visit]]
    images: int
    image_bytes: float
    megapixels: float
    peak_memory: int


def visit(
    some: Excerpt, recipe: Recipe, samples: int, seconds: float, folder: Path, progress: Progress
) -> Visited:
    """Make shards of the excerpt in one worker, in about `seconds`, each _VISITS times or more."""
    start = time.monotonic()
    large = int(_SHARD_MEGAPIXELS * some.samples / some.megapixels)
    size = min(SHARD, samples, max(_LEAST_SHARD, large))
    archives = locate(some.copies(folder / "copies", -(-max(samples, size) // some.samples)))
    out = folder / "stages"
    setup = {"out": str(out), "recipe": recipe.to_json(), "preload": PRELOAD}
    with State(out) as state, Local(1, setup) as engine:
        stamps = {archive.path: KINDS[archive.kind].stamp(archive) for archive in archives}
        state.claim("bench", recipe, stamps)
        tables = scan(out, archives, stamps, engine, Silent())
        plan = planning.make(archives, tables, replace(recipe, shard_size=size))
        planfile.write(plan, tables, out / STATE)
        shards = _spread(plan, size)[: max(1, samples // size)]

        def once(number: int, with_floor: bool, first: bool) -> Visit:
            task = (number, with_floor, first)
            ((_, made),) = engine.map("fastbucket.bench.visits:VisitTask", [task])
            progress.advance(1)
            return Visit(*made)

        # Without the floor first: kernels load, and what memory a worker needs shows undisturbed.
        progress.phase("warm up", len(shards) + 1, "shards")
        warm: list[Visit] = []
        for number in shards:
            warm.append(once(number, False, not warm))
            if time.monotonic() - start > seconds / 3:
                break
        before = time.monotonic()
        once(shards[0], True, True)
        cost = time.monotonic() - before
        affordable = max(_VISITS, int((seconds - (before - start)) / cost))
        shards = shards[: max(1, affordable // _VISITS)]
        passes = affordable // len(shards)
        progress.phase("stages", passes * len(shards), "shards")
        visits: list[list[Visit]] = [[] for _ in shards]
        for _ in range(passes):
            for at, number in enumerate(shards):
                visits[at].append(once(number, True, at == 0))
    table = pa.concat_tables(tables)
    spans = (plan.shards[number] for number in shards)
    rows = np.concatenate([plan.order[shard.start : shard.stop] for shard in spans])
    pixels = column(table, "width")[rows].astype(np.int64) * column(table, "height")[rows]
    return Visited(
        visits,
        rows.size,
        float(column(table, "image_size")[rows].mean()),
        float(pixels.mean()) / 1e6,
        warm[-1].peak_memory,
    )


def _spread(plan: planning.Plan, size: int) -> list[int]:
    """The full shards, or all if none is full, one of each bucket in turn."""
    full = [n for n, shard in enumerate(plan.shards) if shard.stop - shard.start == size]
    numbers = full or list(range(len(plan.shards)))
    return sorted(numbers, key=lambda n: (plan.shards[n].number, plan.shards[n].bucket))


def _peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    try:
        # Not ru_maxrss: a process inherits that of the one that started it.
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
