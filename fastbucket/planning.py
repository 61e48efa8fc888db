"""Catalogue + recipe -> which sample goes where: array work over all columns at once.

Every decision that a header allows is made here, so that what is dropped is never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa

from . import dedup, shardlist, sidecar
from .buckets import Bucket
from .catalogue import KIND, Archive, broken, column, text
from .errors import RunError
from .format import DROP_REASONS, image_id, sample_key
from .progress import Progress, Silent
from .public import public
from .recipe import Recipe
from .shardlist import Shard, Shards
from .sourcerows import SourceRows, starts

REASON = {name: code for code, name in enumerate(DROP_REASONS)}


@dataclass
class Plan(Shards):
    """What is to be done. Rows are all scanned samples, archives one after the other."""

    archives: list[Archive]
    starts: np.ndarray  # int64 (archives + 1,), first row of each archive
    reason: np.ndarray  # uint8 (rows,), index into DROP_REASONS; 0 is kept
    bucket: np.ndarray  # int16 (rows,), at the largest base that fits; -1 without one
    order: np.ndarray  # int64 (kept,), rows in the order of the shards
    buckets: tuple[Bucket, ...]  # of all bases, the smallest base first
    shards: list[Shard]
    carried: list[sidecar.Carried]

    def dropped(self) -> dict[str, int]:
        """Samples by reason, without the kept ones."""
        counts = np.bincount(self.reason, minlength=len(DROP_REASONS))
        return {DROP_REASONS[i]: int(n) for i, n in enumerate(counts) if i and n}


def make(
    archives: Sequence[Archive],
    tables: Sequence[pa.Table],
    recipe: Recipe,
    excluded: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> Plan:
    """Decide about every sample of the catalogue. excluded: keys or image_ids.

    Raises RunError for two samples of one image_id, and where nothing was found at all.
    """
    first = starts(tables)
    if not first[-1]:
        why = next(filter(None, map(broken, tables)), "")
        raise RunError(
            f"no samples in {', '.join(public(a.path) for a in archives[:3])}{why and f' ({why})'}"
        )
    _check_folder_ids(archives, tables)

    def whole(name: str) -> np.ndarray:
        return np.concatenate([column(table, name) for table in tables])

    reason = whole("reason").copy()
    width, height = whole("width"), whole("height")
    turned = whole("orientation") >= 5
    width, height = np.where(turned, height, width), np.where(turned, width, height)
    readable = reason == 0
    pixels = width.astype(np.int64) * height
    reason[readable & (pixels > recipe.max_pixels)] = REASON["too_many_pixels"]
    del pixels
    if recipe.image_mode == "passthrough_jpeg" and recipe.passthrough_other == "drop":
        reason[(reason == 0) & (whole("kind") != KIND["jpeg"])] = REASON["no_plain_jpeg"]

    from .kernels.fit import fit_bases  # numba: not for workers, who only read what is planned

    bases = recipe.ladder()
    bucket, level = fit_bases(
        np.where(reason == 0, width, 0),
        np.where(reason == 0, height, 0),
        bases,
        recipe.choice,
        recipe.too_small_policy == "next_bucket",
        recipe.next_bucket_max_crop,
    )
    reason[(reason == 0) & (bucket < 0)] = REASON["no_bucket"]
    reason[(reason == 0) & (level == 0)] = REASON["too_small"]
    listed = np.zeros(reason.size, np.bool_)
    if excluded:
        for archive, table, start in zip(archives, tables, first, strict=False):
            for at, key in enumerate(table.column("key").to_pylist()):
                name = image_id(archive.id_prefix, text(key))
                if name in excluded or sample_key(name) in excluded:
                    listed[start + at] = True
    # What an excluded sample would have driven out as its copy is not to come in its stead: so a
    # pruned export and one made anew without the same samples hold the same.
    would_stay = listed & (reason == 0)
    reason[listed] = REASON["excluded"]

    source = SourceRows(archives, tables, first, progress or Silent())
    if recipe.missing_caption_policy == "drop":
        rows = np.flatnonzero((reason == 0) | would_stay)
        without = rows[~_captioned(source, rows, recipe.caption_field)]
        reason[without[~listed[without]]] = REASON["no_caption"]
        would_stay[without] = False
    if recipe.duplicates == "drop":
        rows = np.flatnonzero((reason == 0) | would_stay)
        repeated = dedup.duplicates(
            whole("image_size")[rows],
            width[rows],
            height[rows],
            lambda which, limit: source.read(
                "dedup" if limit else "dedup, whole", rows[which], "image", limit
            ),
        )
        repeats = rows[repeated]
        reason[repeats[~listed[repeats]]] = REASON["duplicate"]
    if recipe.min_bucket:
        _clear_rare(reason, bucket, width, height, bases[0], recipe, progress or Silent())

    kept = np.flatnonzero(reason == 0)
    family = len(bases[0])
    bucket[bucket >= 0] += family * (np.maximum(level, 1) - 1)[bucket >= 0].astype(np.int16)
    order = shardlist.order(reason, bucket, family)
    shards = shardlist.cut(
        bucket[order] % family, level[order], len(bases), family, recipe.shard_size
    )
    return Plan(
        archives=list(archives),
        starts=first,
        reason=reason,
        bucket=bucket,
        order=order,
        buckets=tuple(chain.from_iterable(bases)),
        shards=shards,
        carried=sidecar.decide(
            recipe.carry,
            (
                sidecar.json_object(raw)
                for raw in source.read(
                    "fields", kept[: sidecar.AUTO_SAMPLES], "json", sidecar.SIDECAR_LIMIT
                )
            ),
        ),
    )


def _clear_rare(
    reason: np.ndarray,
    bucket: np.ndarray,
    width: np.ndarray,
    height: np.ndarray,
    family: Sequence[Bucket],
    recipe: Recipe,
    progress: Progress,
) -> None:
    """Move the samples of rare buckets, or drop them: changes reason and bucket.

    Which are rare is decided once, by what is planned for them now: a bucket that takes others in
    was large enough before, and none becomes so by merging.
    """
    from .kernels.fit import ONLY_NEXT, fit

    planned = reason == 0
    counts = np.bincount(bucket[planned], minlength=len(family))
    is_rare = (counts > 0) & (counts < recipe.min_bucket)
    large = np.flatnonzero(counts >= recipe.min_bucket)
    rows = np.flatnonzero(planned & is_rare[bucket])
    moved = np.zeros(rows.size, np.bool_)
    if recipe.rare_bucket_policy == "merge" and rows.size and large.size:
        to, moved = fit(
            width[rows],
            height[rows],
            tuple(family[at] for at in large.tolist()),
            recipe.choice,
            ONLY_NEXT,
            recipe.next_bucket_max_crop,
        )
        bucket[rows[moved]] = large[to[moved]]
    reason[rows[~moved]] = REASON["rare_bucket"]
    if rows.size:
        progress.say(
            f"{int(is_rare.sum())} of {int((counts > 0).sum())} buckets are rare, with fewer than "
            f"{recipe.min_bucket} samples: {int(moved.sum())} of those moved to other buckets, "
            f"{int((~moved).sum())} dropped"
        )


def _captioned(source: SourceRows, rows: np.ndarray, field: str) -> np.ndarray:
    """Which rows have a caption, in their .txt or in a field of their JSON. bool (n,)."""
    limit = sidecar.SIDECAR_LIMIT
    found = np.array(
        [bool(sidecar.text(t).strip()) for t in source.read("captions", rows, "text", limit)], bool
    )
    if field:
        rest = np.flatnonzero(~found)
        found[rest] = [
            bool(sidecar.as_str(sidecar.json_object(raw).get(field)).strip())
            for raw in source.read("captions", rows[rest], "json", limit)
        ]
    return found


def _check_folder_ids(archives: Sequence[Archive], tables: Sequence[pa.Table]) -> None:
    """Ids are unique within an archive (the scan saw to it) and between tars (their names differ);
    only those of a folder, which have no prefix, can meet others."""
    if len(archives) < 2 or all(a.kind != "folder" for a in archives):
        return
    seen: dict[str, str] = {}
    for archive, table in zip(archives, tables, strict=True):
        for key in table.column("key").to_pylist():
            name = image_id(archive.id_prefix, text(key))
            if name in seen:
                raise RunError(
                    f"two samples of one image_id {name!r}, in {seen[name]} and in "
                    f"{public(archive.path)}"
                )
            seen[name] = public(archive.path)
