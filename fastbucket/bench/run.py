"""Where the time of a sample goes on this machine, and what limits it.

Shards of an excerpt of the source are made by real tasks in one worker process, over and over; in
turn with each the floor of the same images is measured in the same process, so that what disturbs
the one disturbs the other. Then real exports of the multiplied excerpt with ever more workers.
Sources are read from the page cache, output goes to the temporary folder.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from .. import manifest
from ..errors import RunError
from ..job import Sources
from ..progress import Progress, Silent
from ..recipe import Recipe
from ..resources import Resources, available_cpus
from ..sources.locate import archives as locate
from ..stopwatch import STAGES
from .excerpt import SHARD, drawn, excerpt
from .scaling import Scale, scaling
from .visits import Visit, Visited, visit

SECONDS = 20.0
SAMPLES = 8 * SHARD

PIXELS = ("decode", "resize", "chroma", "encode")
"""The stages between the source's bytes and those of the JPEG."""


class Rate(NamedTuple):
    """What an image costs one core, and the share of an image's whole time, 0 to 1. ms: wall-clock
    milliseconds; megapixels: of the source."""

    ms: float
    images_per_second: float
    megapixels_per_second: float
    share: float


@dataclass(frozen=True)
class Bench:
    """What was measured. Everything is for one exported image, on average, unless it says else."""

    source: dict[str, Any]  # archives, samples and kept samples of the scan; drawn: no photos
    images: int  # each was measured `visits` times; where there are too few, some are copies
    visits: int
    damaged: int  # further images whose pixels turned out to be damaged
    megapixels: float  # source
    bytes_in: float  # image in the source
    bytes_out: float  # all that it takes in its shard
    stages: dict[str, Rate]  # STAGES and header: the scan, shared by the samples that are kept
    total: Rate  # from the clock: the stages, and what lies between them
    floor: dict[str, Rate]  # decode, encode, total
    of_a_core: float  # CPU time / wall-clock time: how much of a core the worker was given
    floor_reached: float  # floor / total
    floor_reached_pixels: float  # floor / (decode + resize + chroma + encode)
    peak_memory: int  # bytes, resident, of one worker
    scaling: list[Scale]
    recipe: dict[str, Any]
    machine: dict[str, Any]
    software: dict[str, str]
    seconds: float  # that all of this took

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "stages": {name: rate._asdict() for name, rate in self.stages.items()},
            "total": self.total._asdict(),
            "floor": {name: rate._asdict() for name, rate in self.floor.items()},
            "scaling": [scale._asdict() for scale in self.scaling],
        }


def bench(
    sources: Sources = (),
    recipe: Recipe | None = None,
    *,
    seconds: float = SECONDS,
    samples: int = SAMPLES,
    workers: int = 0,
    progress: Progress | None = None,
) -> Bench:
    """Measure for about `seconds`.

    sources: as for an export; none: images are drawn. samples: how many of them make an excerpt at
    most. workers: up to how many are tried, 0: one for every CPU. Raises RunError where an export
    would keep nothing.
    """
    if seconds <= 0 or samples < 1 or workers < 0:
        raise RunError(f"cannot bench {samples} samples in {seconds} s with {workers} workers")
    start = time.monotonic()
    progress = progress or Silent()
    recipe = recipe or Recipe()
    if recipe.base_resolutions:
        raise RunError("bench measures one base_resolution, not several base_resolutions")
    # The excerpt is multiplied, and its copies are wanted.
    used = replace(recipe, duplicates="keep")
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    with tempfile.TemporaryDirectory(prefix="fastbucket-bench-") as name:
        folder = Path(name)
        archives = locate(list(sources) or drawn(folder / "drawn", used))
        some = excerpt(archives, used, samples, seconds / 5, folder, progress)
        made = visit(some, used, samples, 0.45 * seconds, folder, progress)
        facts = _facts(made, some.scanned.seconds / some.scanned.kept)
        left = max(seconds - (time.monotonic() - start), seconds / 4)
        scales = scaling(
            some,
            used,
            Resources(workers=workers).worker_count,
            facts["total"].ms / 1e3,
            facts["bytes_out"],
            left,
            folder,
            progress,
        )
    return Bench(
        source={"drawn": not sources, **some.scanned._asdict()},
        **facts,
        scaling=scales,
        recipe=recipe.to_json(),
        machine=machine(),
        software=software(),
        seconds=time.monotonic() - start,
    )


def _facts(visited: Visited, header: float) -> dict[str, Any]:
    """The fields of Bench that follow from visits. header: seconds of the scan for a kept sample.

    Times are the sum, over the shards, of the median of a shard's visits.
    """
    images = sum(visits[0].images for visits in visited.shards)
    if not images:
        raise RunError(f"the pixels of all {visited.images} images that were tried are damaged")

    def ms(nanoseconds: Callable[[Visit], int]) -> float:
        """Milliseconds of an image."""
        medians = (statistics.median(map(nanoseconds, visits)) for visits in visited.shards)
        return sum(medians) / images / 1e6

    def stage(name: str) -> float:
        return ms(lambda one: one.stages[name])

    total = 1e3 * header + ms(lambda one: one.nanoseconds)

    def rate(took: float) -> Rate:
        a_second = 1e3 / took if took else 0.0  # no encoding at all where images pass through
        return Rate(took, a_second, a_second * visited.megapixels, took / total)

    first, *others = STAGES
    stages = {first: stage(first), "header": 1e3 * header, **{name: stage(name) for name in others}}
    floor = {
        "decode": ms(lambda one: one.floor.decode),
        "encode": ms(lambda one: one.floor.encode),
    }
    floor["total"] = floor["decode"] + floor["encode"]
    return {
        "images": images,
        "visits": len(visited.shards[0]),
        "damaged": visited.images - images,
        "megapixels": visited.megapixels,
        "bytes_in": visited.image_bytes,
        "bytes_out": sum(visits[0].bytes for visits in visited.shards) / images,
        "stages": {name: rate(took) for name, took in stages.items()},
        "total": rate(total),
        "floor": {name: rate(took) for name, took in floor.items()},
        "of_a_core": ms(lambda one: one.cpu) / ms(lambda one: one.nanoseconds),
        "floor_reached": floor["total"] / total,
        "floor_reached_pixels": floor["total"] / sum(stages[name] for name in PIXELS),
        "peak_memory": visited.peak_memory,
    }


def machine() -> dict[str, Any]:
    """The CPU and the system."""
    try:
        names = [
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
    except OSError:
        names = []
    return {
        "cpu": names[0] if names else platform.processor(),
        "cpus": available_cpus(),
        "architecture": platform.machine(),
        "system": platform.platform(),
    }


def software() -> dict[str, str]:
    """What stands in a manifest, and the rest of what runs."""
    others = {name: version(name) for name in ("pyvips", "llvmlite", "pyarrow", "xxhash")}
    return {**manifest.software(), **others}
