"""An excerpt of a source for `bench`: a few hundred samples that an export would keep, as a tar.

A benchmark must be short whatever the size of the source, and long enough whatever its smallness:
so a few archives are scanned, samples of their commonest buckets are copied, and the copy is
multiplied by hard links, each an archive of its own of the same bytes.
"""

from __future__ import annotations

import io
import os
import random
import statistics
import tarfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from .. import catalogue, planning
from ..catalogue import Archive
from ..draw import draw
from ..errors import RunError
from ..progress import Progress
from ..recipe import Recipe
from ..sidecar import SIDECAR_LIMIT
from ..sources import KINDS
from ..sources.names import member_name
from ..timm_tars import PREFIX, TimmSample, TimmTars

SHARD = 32
"""Samples of a shard while stages are measured: enough that its one commit (0.6 ms on an SSD)
weighs little in a sample's milliseconds, as it does in a shard of 1024."""

BYTES = 64 << 20
"""Of images in an excerpt at most: large photos need fewer of them for the same seconds."""

RESCANS = 3
"""Timed scans of an archive, from the page cache, after one that warms it; the median counts."""

DRAWN_SIZES = ((900, 675), (800, 600), (675, 900), (1000, 667))
"""Pixels, for base resolution 512: 0.6 megapixels and scale 0.7 on average, near the 0.56 and 0.78
of ImageNet photos that fit a bucket."""

DRAWINGS = 12
"""Drawn images at base resolution 512, each also mirrored and turned over: drawing one takes
0.15 s, a flip nothing. Larger ones are fewer, as they take longer."""

_PARTS = {"image": "jpg", "text": "txt", "json": "json", "class": "cls"}
"""Part of a sample -> suffix in the excerpt. Images are known by their content: all are .jpg."""


class Scanned(NamedTuple):
    """What the scan of archives found, and how fast: from the page cache, in one process."""

    archives: int
    samples: int
    kept: int  # duplicates included
    seconds: float


@dataclass(frozen=True)
class Excerpt:
    """A tar of samples, all of which an export keeps. bytes, megapixels: of all their images."""

    path: Path
    samples: int
    bytes: int
    megapixels: float
    scanned: Scanned

    def copies(self, folder: Path, count: int) -> list[Path]:
        """`count` hard links to the tar in `folder`: archives with samples of their own names."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"excerpt-{number:05d}.tar" for number in range(count)]
        for path in paths:
            if not path.exists():
                os.link(self.path, path)
        return paths


def drawn(folder: Path, recipe: Recipe) -> list[Path]:
    """A source without photos: plain JPEGs that all fit a bucket of the recipe, in one tar."""
    from ..drawn_source import photo_jpeg

    base = recipe.base_resolution
    drawings = min(DRAWINGS, max(len(DRAWN_SIZES), DRAWINGS * 512**2 // base**2))
    with TimmTars(folder, PREFIX, "train", 3 * drawings) as tars:
        for number in range(drawings):
            sides = DRAWN_SIZES[number % len(DRAWN_SIZES)]
            width, height = (-(-side * base // 512) for side in sides)
            rgb = draw(width, height, number)
            chroma = "420" if number % 4 == 0 else "444"  # 24 to 76, as among ImageNet's photos
            for turn, pixels in enumerate((rgb, rgb[:, ::-1], rgb[::-1])):
                image = photo_jpeg(np.ascontiguousarray(pixels), chroma)
                at = 3 * number + turn
                name, words = f"n00000001_{at}.JPEG", f"A drawing, number {at}."
                tars.add(TimmSample("n00000001", at, "jpg", image, 1, width, height, name, words))
    return tars.paths


def excerpt(
    archives: Sequence[Archive],
    recipe: Recipe,
    samples: int,
    seconds: float,
    folder: Path,
    progress: Progress,
) -> Excerpt:
    """Choose up to `samples` samples and copy them to `folder`/excerpt.tar.

    Scans archives, in a seeded order, until four times as many kept samples are found, or until
    `seconds` are over and some were found. Raises RunError where an export would keep nothing.
    """
    start = time.monotonic()
    found: dict[int, list[tuple[Archive, dict[str, Any]]]] = defaultdict(list)
    scanned = Scanned(0, 0, 0, 0.0)
    progress.phase("scan", len(archives), "archives")
    for archive in random.Random(0).sample(archives, len(archives)):
        table, took = _scan(archive, folder / "catalogue.arrow")
        progress.advance(1)
        kept = 0
        if table.num_rows:
            plan = planning.make([archive], [table], recipe)
            kept = plan.order.size
            some = plan.order[:: max(1, kept // (16 * samples))]  # of a folder of millions, a few
            rows = table.take(some).to_pylist()
            for bucket, row in zip(plan.bucket[some].tolist(), rows, strict=True):
                found[bucket].append((archive, row))
        scanned = Scanned(
            scanned.archives + 1,
            scanned.samples + table.num_rows,
            scanned.kept + kept,
            scanned.seconds + took,
        )
        if scanned.kept >= 4 * samples or (scanned.kept and time.monotonic() - start > seconds):
            break
    if not scanned.kept:
        raise RunError(
            f"none of {scanned.samples} samples in {scanned.archives} archives fits a bucket of "
            "the recipe: nothing to measure. See export --dry-run, or lower --base-resolution"
        )
    return _write(_chosen(found, samples), folder / "excerpt.tar", scanned)


def _scan(archive: Archive, path: Path) -> tuple[pa.Table, float]:
    """The catalogue of an archive, by way of `path`, and the seconds of a scan that finds its
    headers in the page cache."""
    kind = KINDS[archive.kind]
    kind.scan(archive).write(path, stamp="bench")
    times: list[float] = []
    while len(times) < RESCANS and sum(times) < 1:  # a second is exact enough
        start = time.perf_counter()
        kind.scan(archive)
        times.append(time.perf_counter() - start)
    table = catalogue.read(path, stamp="bench")
    assert table is not None
    return table, statistics.median(times)


def _chosen(
    found: dict[int, list[tuple[Archive, dict[str, Any]]]], samples: int
) -> Iterator[tuple[Archive, dict[str, Any]]]:
    """Samples of the commonest buckets, a shard's worth of each, spread over all that were found;
    one of every bucket in turn."""
    shards = max(1, samples // SHARD)
    commonest = sorted(found.values(), key=len, reverse=True)[:shards]
    each = min(samples, SHARD)
    spread = [
        [rows[at * len(rows) // min(each, len(rows))] for at in range(min(each, len(rows)))]
        for rows in commonest
    ]
    for at in range(each):
        yield from (rows[at] for rows in spread if at < len(rows))


def _write(rows: Iterator[tuple[Archive, dict[str, Any]]], path: Path, scanned: Scanned) -> Excerpt:
    """Copy samples into a tar, until BYTES of images are in it."""
    count = size = pixels = 0
    into = bytearray()
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for archive, row in rows:
            reader = KINDS[archive.kind].Reader(archive)
            try:
                for part, suffix in _PARTS.items():
                    length = row[f"{part}_size"]
                    if length < 0 or (part != "image" and length > SIDECAR_LIMIT):
                        continue
                    name = member_name(row["key"], row["suffix"], part)
                    data = reader.read(name, row[f"{part}_offset"], length, into)
                    member = tarfile.TarInfo(f"{count:06d}.{suffix}")
                    member.size = length
                    tar.addfile(member, io.BytesIO(data))
            finally:
                reader.close()
            count += 1
            size += row["image_size"]
            pixels += row["width"] * row["height"]
            if size >= BYTES:
                break
    return Excerpt(path, count, size, pixels / 1e6, scanned)
