"""What the page says of an export: manifest and run as they are, meta/ added up by columns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from ..format import META, RUN, at_smaller_bases
from ..verification.findings import flaws, no_constant
from ..verification.history import SHAPE

OCTAVE = 24
"""Cells of the size map in a doubling of a side."""

LOWEST, OCTAVES = 4, 13
"""The map begins at 2**LOWEST pixels; beyond its ends everything counts into the last cell."""

SCALE_BINS = 50
"""Of the histogram of scales, over (0, 1]."""

DROPS = 8
"""Dropped samples shown of each reason, of one archive no more than DROPS_OF_ARCHIVE: every further
archive is a tar to walk through."""
DROPS_OF_ARCHIVE = 3

_BATCH = 1 << 16
_NEEDED = ("reason", "bucket_id", "source_w", "source_h")
_TEXTS = ("reason", "bucket_id", "format", "source_split", "source_archive")
_NUMBERS = ("source_w", "source_h", "source_bytes", "orientation")


class Dropped(NamedTuple):
    """A dropped sample that the page shows, as its row in meta/ says."""

    reason: str
    image_id: str
    archive: str
    member: str
    size: int  # bytes, -1 without an image
    width: int  # 0 unknown
    height: int
    detail: str


def _map() -> np.ndarray:
    return np.zeros((OCTAVES * OCTAVE, OCTAVES * OCTAVE), np.int64)


@dataclass
class MetaFacts:
    """Sums over all rows of meta/. Maps: int64 (height cell, width cell), see `cell`."""

    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # "" kept
    splits: Counter[str] = field(default_factory=Counter)  # of the kept
    formats: Counter[str] = field(default_factory=Counter)  # of the kept
    turned: int = 0  # kept ones with an EXIF orientation
    source_bytes: int = 0  # of the kept
    source_pixels: int = 0  # of the kept
    kept_map: np.ndarray = field(default_factory=_map)
    dropped_map: np.ndarray = field(default_factory=_map)
    scales: np.ndarray = field(default_factory=lambda: np.zeros(SCALE_BINS, np.int64))
    scale_of: dict[str, float] = field(default_factory=dict)  # bucket_id -> sum of scales
    below: int = 0  # kept ones whose scale is below adaptive_scale_threshold
    dropped: list[Dropped] = field(default_factory=list)


def cell(pixels: np.ndarray) -> np.ndarray:
    """The cell of the map that a side falls into, int (n,)."""
    at: np.ndarray = np.floor((np.log2(np.maximum(pixels, 1)) - LOWEST) * OCTAVE).astype(np.int64)
    return at.clip(0, OCTAVES * OCTAVE - 1)


def run_facts(out: Path) -> dict[str, Any] | None:
    """run.json; None where there is none that can be read. What a later version adds is left."""
    try:
        text = (out / RUN).read_text(encoding="utf-8")
        facts = json.loads(text, parse_constant=no_constant)
        known = {name: facts[name] for name in SHAPE}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return None if flaws(known, SHAPE, "") else known


def meta_facts(out: Path, manifest: dict[str, Any], seed: int) -> MetaFacts | None:
    """Add up meta/, batch by batch; None where there is none that can be read.

    Reads the columns that are there: beyond reason, bucket_id, source_w and source_h each may be
    absent, and others are not looked at.
    """
    paths = sorted((out / META).glob("*.parquet"))
    if not paths:
        return None
    adding = _Adding(manifest, seed)
    try:
        for path in paths:
            there = set(pq.read_schema(path).names)
            if not there.issuperset(_NEEDED):
                return None
            texts, numbers = ([n for n in names if n in there] for names in (_TEXTS, _NUMBERS))
            with pq.ParquetFile(path, read_dictionary=texts) as file:
                row = 0
                for batch in file.iter_batches(_BATCH, columns=texts + numbers):
                    adding.add(batch, path, row)
                    row += batch.num_rows
        adding.facts.dropped = [_named(place) for place in adding.chosen()]
    except (pa.ArrowException, OSError, ValueError):
        return None
    return adding.facts


class _Row(NamedTuple):
    """Where a chosen row stands. rank: of its archive, then of itself; the smallest are shown."""

    rank: tuple[int, float]
    reason: str
    archive: str
    path: Path
    row: int


class _Adding:
    def __init__(self, manifest: dict[str, Any], seed: int) -> None:
        self.facts = MetaFacts()
        self._target = {
            b["bucket_id"]: (b["target_w"], b["target_h"]) for b in manifest.get("buckets", [])
        }
        self._bases: list[int] = manifest.get("base_resolutions", [])
        recipe = manifest.get("recipe", {})
        self._threshold = float(recipe.get("adaptive_scale_threshold", 0))
        self._seed = seed
        self._dice = np.random.default_rng(seed)
        self._rows: dict[str, list[_Row]] = {}

    def add(self, batch: pa.RecordBatch, path: Path, first: int) -> None:
        facts = self.facts
        facts.rows += batch.num_rows
        reasons, reason = _coded(batch, "reason")
        ids, bucket = _coded(batch, "bucket_id")
        archives, archive = _coded(batch, "source_archive")
        kept = np.array([name == "" for name in reasons], bool)[reason]
        for name, count in zip(reasons, np.bincount(reason, minlength=len(reasons)), strict=True):
            facts.reasons[name] += int(count)
        for column, counter in (("format", facts.formats), ("source_split", facts.splits)):
            names, codes = _coded(batch, column)
            counts = np.bincount(codes[kept], minlength=len(names))
            counter.update({n: int(c) for n, c in zip(names, counts, strict=True) if c})
        width, height = _numbers(batch, "source_w", 0), _numbers(batch, "source_h", 0)
        facts.turned += int((_numbers(batch, "orientation", 1)[kept] > 1).sum())
        facts.source_bytes += int(_numbers(batch, "source_bytes", 0)[kept].sum())
        facts.source_pixels += int((width * height)[kept].sum())
        sized = (width > 0) & (height > 0)
        for those, counts in ((kept, facts.kept_map), (~kept, facts.dropped_map)):
            at = cell(height[sized & those]) * counts.shape[1] + cell(width[sized & those])
            counts += np.bincount(at, minlength=counts.size).reshape(counts.shape)
        self._scales(ids, bucket[kept & sized], width[kept & sized], height[kept & sized])
        for code, name in enumerate(reasons):
            if name:
                rows = np.flatnonzero(reason == code)
                self._choose(name, rows, archives, archive[rows], path, first)

    def _scales(
        self, ids: list[str], bucket: np.ndarray, width: np.ndarray, height: np.ndarray
    ) -> None:
        """At every base that a sample went to: its row names the bucket of the largest."""
        names = [[name, *at_smaller_bases(name, self._bases)] for name in ids]
        for turn in range(max(map(len, names), default=0)):
            there = np.array([turn < len(those) for those in names])[bucket]
            here = [those[turn] if turn < len(those) else "" for those in names]
            self._scales_of(here, bucket[there], width[there], height[there])

    def _scales_of(
        self, ids: list[str], bucket: np.ndarray, width: np.ndarray, height: np.ndarray
    ) -> None:
        targets = np.array([self._target.get(name, (0, 0)) for name in ids], float).reshape(-1, 2)
        scale = np.maximum(targets[bucket, 0] / width, targets[bucket, 1] / height)
        at = np.clip(np.ceil(scale * SCALE_BINS).astype(int) - 1, 0, SCALE_BINS - 1)
        self.facts.scales += np.bincount(at, minlength=SCALE_BINS)
        self.facts.below += int((scale < self._threshold).sum())
        for name, total in zip(ids, np.bincount(bucket, scale, len(ids)), strict=True):
            self.facts.scale_of[name] = self.facts.scale_of.get(name, 0.0) + float(total)

    def _choose(
        self,
        reason: str,
        rows: np.ndarray,
        archives: list[str],
        archive: np.ndarray,
        path: Path,
        first: int,
    ) -> None:
        """Keep the rows of the smallest rank: archives in a seeded order, few of each."""
        met = np.unique(archive).tolist()
        rank = {a: xxhash.xxh64_intdigest(archives[a].encode(), self._seed) for a in met}
        found = self._rows.setdefault(reason, [])
        for a in sorted(met, key=rank.__getitem__)[:DROPS]:
            own = rows[archive == a]
            picked = self._dice.choice(own, min(len(own), DROPS_OF_ARCHIVE), replace=False)
            found += [
                _Row((rank[a], float(self._dice.random())), reason, archives[a], path, first + row)
                for row in picked.tolist()
            ]
        found.sort()
        of: Counter[str] = Counter()
        kept: list[_Row] = []
        for row in found:
            of[row.archive] += 1
            if of[row.archive] <= DROPS_OF_ARCHIVE and len(kept) < DROPS:
                kept.append(row)
        self._rows[reason] = kept

    def chosen(self) -> Iterator[_Row]:
        for reason in sorted(self._rows):
            yield from self._rows[reason]


def _coded(batch: pa.RecordBatch, name: str) -> tuple[list[str], np.ndarray]:
    """A text column as its distinct values and the index of each row's; "" where it is absent."""
    if name not in batch.schema.names:
        return [""], np.zeros(batch.num_rows, np.int64)
    column = batch.column(name)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    values = [str(value) for value in column.dictionary.to_pylist()]
    return values, np.asarray(column.indices).astype(np.int64)


def _numbers(batch: pa.RecordBatch, name: str, default: int) -> np.ndarray:
    if name not in batch.schema.names:
        return np.full(batch.num_rows, default, np.int64)
    return np.asarray(batch.column(name)).astype(np.int64)


_SHOWN = {"image_id": "", "source_archive": "", "source_member": "", "source_bytes": -1,
          "source_w": 0, "source_h": 0, "detail": ""}  # fmt: skip


def _named(place: _Row) -> Dropped:
    """The columns of one row, of the row group that it stands in."""
    with pq.ParquetFile(place.path) as file:
        columns = [name for name in _SHOWN if name in file.schema_arrow.names]
        row = place.row
        for number in range(file.num_row_groups):
            size = file.metadata.row_group(number).num_rows
            if row < size:
                table = file.read_row_group(number, columns=columns).slice(row, 1)
                found = {**_SHOWN, **table.to_pylist()[0]}
                return Dropped(place.reason, *(found[name] for name in _SHOWN))
            row -= size
    raise ValueError(f"{place.path}: row {place.row} is gone")
