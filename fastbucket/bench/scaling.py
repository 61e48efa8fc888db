"""Real exports of an excerpt with 1, 2, 4, ... workers: images a second, and what is lost."""

from __future__ import annotations

import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..progress import Progress
from ..recipe import Recipe
from ..resources import Resources
from ..run import export
from .excerpt import Excerpt

_ROUND_SECONDS = 2.5
"""A shorter export measures little but its own start, about one second; with more time there are
more rounds, up to ROUNDS."""

_START_SECONDS = 1.0
_ROUNDS = 3

_SHARDS_A_WORKER = 12
"""Then the last shard, which one worker makes while others have nothing to do, lies outside of the
window that counts."""

_WINDOW = (0.25, 0.85)
"""The share of the samples whose time counts: before it workers start, after it they run dry, and
in an export of hours neither matters."""


class Scale(NamedTuple):
    """Exports with so many workers. efficiency: images a second and worker, against one worker."""

    workers: int
    images: int
    rounds: int
    images_per_second: float
    efficiency: float


class Pace:
    """A Progress that notes when how many samples of the export were done."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []
        self._phase, self._total = "", 0

    def phase(self, name: str, total: int, unit: str) -> None:
        self._phase = name
        if name == "export":
            self._total, self._marks = total, [(time.monotonic(), 0)]

    def advance(self, n: int) -> None:
        if self._phase == "export" and n:
            self._marks.append((time.monotonic(), self._marks[-1][1] + n))

    def say(self, text: str) -> None: ...

    def rate(self) -> float:
        """Samples a second within _WINDOW; of all of them where too few marks lie in it."""
        low, high = (share * self._total for share in _WINDOW)
        inside = [mark for mark in self._marks if low <= mark[1] <= high]
        if len(inside) < 3:
            inside = self._marks
        (first, before), (last, after) = inside[0], inside[-1]
        return (after - before) / max(last - first, 1e-9)


def worker_counts(most: int) -> list[int]:
    """1, 2, 4, ... and the most."""
    return [1 << power for power in range(most.bit_length()) if 1 << power < most] + [most]


def scaling(
    excerpt: Excerpt,
    recipe: Recipe,
    most: int,
    image_seconds: float,
    image_bytes: float,
    seconds: float,
    folder: Path,
    progress: Progress,
) -> list[Scale]:
    """Export copies of the excerpt into `folder`, again and again, for about `seconds`.

    most: workers at the end. image_seconds: what a worker takes for an image; every export is made
    so large that its workers have the same seconds to do. image_bytes: of its output; half of the
    free disk is not exceeded.
    """
    counts = worker_counts(most)
    rounds = min(_ROUNDS, max(1, int(seconds / (len(counts) * _ROUND_SECONDS))))
    each = max(seconds / (rounds * len(counts)) - _START_SECONDS, _START_SECONDS / 2)
    room = int(shutil.disk_usage(folder).free / 2 / image_bytes)
    rates: dict[int, list[float]] = {count: [] for count in counts}
    images: dict[int, int] = {}
    progress.phase("scaling", rounds * len(counts), "exports")
    for _ in range(rounds):
        for count in counts:
            wanted = min(int(count * each / image_seconds), room)
            images[count], rate = _export(excerpt, recipe, count, wanted, folder)
            rates[count].append(rate)
            progress.advance(1)
    medians = {count: statistics.median(found) for count, found in rates.items()}
    return [
        Scale(count, images[count], rounds, rate, rate / count / medians[1])
        for count, rate in medians.items()
    ]


def _export(
    excerpt: Excerpt, recipe: Recipe, workers: int, wanted: int, folder: Path
) -> tuple[int, float]:
    """Export about `wanted` samples: how many they were, and how many a second."""
    copies = max(1, round(wanted / excerpt.samples))
    total = copies * excerpt.samples
    shard_size = max(1, min(recipe.shard_size, total // (_SHARDS_A_WORKER * workers)))
    pace = Pace()
    out = folder / "scaling"
    try:
        report = export(
            excerpt.copies(folder / "copies", copies),
            out,
            replace(recipe, shard_size=shard_size),
            Resources(workers=workers),
            progress=pace,
        )
    finally:
        shutil.rmtree(out, ignore_errors=True)
    return report.exported, pace.rate()
