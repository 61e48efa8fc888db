"""What the recipe makes of a source of some size, computed again: bucket, cover, crop, chroma."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any

from ..buckets import CHOICES, Bucket, min_crop
from ..crop import CROPS
from ..format import IMAGE_MODES, sample_key
from ..geometry import Size, cover
from ..recipe import Recipe
from ..subsampling import POLICIES, SUBSAMPLINGS, Chroma
from .jpeg import Header

_REENCODE, _PASSTHROUGH = IMAGE_MODES

_SCALE_POLICIES = ("adaptive_scale", "444", "422", "420")
"""Chroma policies that look at nothing but the scale: only they can be repeated from the JSON."""


class Placement:
    """Where samples of one recipe belong, and what their JSON must say of it.

    there: ids of the buckets that the export has; those that it lacks may have been rare.
    """

    def __init__(self, recipe: Recipe, there: Collection[str] = ()) -> None:
        self._recipe = recipe
        self._ladder = recipe.ladder()
        self._by_id = {bucket.id: bucket for family in self._ladder for bucket in family}
        merges = recipe.min_bucket and recipe.rare_bucket_policy == "merge"
        self._there = frozenset(there) if merges else None
        # Photos come in few sizes: most choices have been made before.
        self.chosen = lru_cache(maxsize=1 << 16)(self._choose)

    def flaws(
        self, document: dict[str, Any], bucket_id: str, header: Header | None
    ) -> Iterator[str]:
        """What contradicts the bucket of this folder, the recipe, or the source's size."""
        recipe, mode = self._recipe, document["image_mode"]
        if document["bucket_id"] != bucket_id:
            yield f"bucket_id is {document['bucket_id']}, and it stands in {bucket_id}"
            return  # all that follows from the bucket would be wrong with it
        if mode != _REENCODE and mode != recipe.image_mode:
            yield f"image_mode is {mode!r}, the recipe says {recipe.image_mode}"
            return
        if (mode, recipe.passthrough_other) == (_REENCODE, "drop") and mode != recipe.image_mode:
            yield f"image_mode is {mode!r}, and passthrough_other is drop"
        source = Size(document["source_w"], document["source_h"])
        if min(source) <= 0:
            yield f"source of {source.width}x{source.height} pixels"
            return
        bucket = self._by_id[bucket_id]
        chosen = self.chosen(source)
        size = f"{source.width}x{source.height}"
        if not chosen:
            yield f"a source of {size} would need upsampling in every bucket that it may go to"
        elif bucket not in chosen:
            there = " and ".join(bucket.id for bucket in chosen)
            yield f"{recipe.choice} sends {size} to {there}, and it stands in {bucket_id}"
        expected = self._expected(document, source, bucket, header)
        for name, value in expected.items():
            if document[name] != value:
                yield f"{name} is {document[name]}, not {value}"

    def _expected(
        self, document: dict[str, Any], source: Size, bucket: Bucket, header: Header | None
    ) -> dict[str, Any]:
        """What the recipe makes of a source of this size in this bucket."""
        recipe, target = self._recipe, bucket.target
        scale, resized = cover(source, target)
        expected = {"target_w": target.width, "target_h": target.height, "scale": scale}
        if document["image_mode"] == _PASSTHROUGH:
            size = Size(document["w"], document["h"]) if header is None else header.size
            if sorted(size) != sorted(source):  # equal, or turned by EXIF
                size = source
            crop, resized = (-1, -1), Size(-1, -1)
            coding = {**document["jpeg"], "quality": -1}
        else:
            size = target
            room = Size(resized.width - target.width, resized.height - target.height)
            key = sample_key(document["image_id"])
            crop = CROPS[recipe.crop_strategy](room, key, recipe.allowed_corners, recipe.jitter)
            chroma = document["jpeg"]["subsampling"]
            if recipe.subsampling_policy in _SCALE_POLICIES:
                policy = POLICIES[recipe.subsampling_policy]
                # These look at the scale alone: what else there is to know does not matter.
                chroma = policy(
                    Chroma(scale, recipe.adaptive_scale_threshold, (1, 1), lambda: 0.0, 0.0)
                )
            elif chroma not in SUBSAMPLINGS:
                chroma = " or ".join(SUBSAMPLINGS)
            coding = {"quality": recipe.quality, "subsampling": chroma}
        return {
            **expected,
            "w": size.width,
            "h": size.height,
            "resized_w": resized.width,
            "resized_h": resized.height,
            "crop_x": crop[0],
            "crop_y": crop[1],
            "jpeg": coding,
        }

    def _choose(self, size: Size) -> tuple[Bucket, ...]:
        """The bucket of a source by the recipe's rule, at every base that it fits, ascending.

        It is chosen at the largest base; next_bucket tries others at the smallest.
        """
        best = self._nearest(size, _facing(size, self._ladder[-1]))
        found = self._fitting(size, self._ladder[-1], best)
        if found or self._recipe.too_small_policy != "next_bucket":
            return found
        smallest = self._ladder[0]
        mine = _facing(size, smallest)
        best = self._nearest(size, mine)
        if best is None or not _fits(size, best.target):
            best = self._next(size, mine)
        return self._fitting(size, smallest, best)

    def _fitting(
        self, size: Size, family: Sequence[Bucket], bucket: Bucket | None
    ) -> tuple[Bucket, ...]:
        """A bucket of this family at every base that the source fits; of one that was rare, what
        has been merged into instead."""
        if bucket is None:
            return ()
        at = family.index(bucket)
        fitting = tuple(f[at] for f in self._ladder if _fits(size, f[at].target))
        if not fitting or self._there is None or bucket.id in self._there:
            return fitting
        # It was rare, as only of one base is said. A bucket that has vanished since, its samples
        # damaged or pruned, was nobody's choice here: the nearest of more is the nearest of those
        # that are left.
        mine = [other for other in _facing(size, family) if other.id in self._there]
        merged = self._next(size, mine)
        return () if merged is None else (merged,)

    def _next(self, size: Size, among: Sequence[Bucket]) -> Bucket | None:
        """The nearest bucket that the source fits and that crops no more than is allowed."""
        w, h = size
        fitting = [bucket for bucket in among if _fits(size, bucket.target)]
        areas = [min_crop(w, h, *bucket.target) for bucket in fitting]  # exact, as (n, d)
        limit = self._recipe.next_bucket_max_crop
        spared = [b for b, (n, d) in zip(fitting, areas, strict=True) if n <= limit * d * w * h]
        return self._nearest(size, spared)

    def _nearest(self, size: Size, among: Sequence[Bucket]) -> Bucket | None:
        """The bucket of the smallest distance, compared exactly; of equal ones the first."""
        distance = CHOICES[self._recipe.choice]
        best, best_n, best_d = None, 0, 1
        for bucket in among:
            n, d = distance(*size, *bucket.target)
            if best is None or n * best_d < best_n * d:
                best, best_n, best_d = bucket, n, d
        return best


def _facing(size: Size, family: Sequence[Bucket]) -> list[Bucket]:
    """The buckets of a source's orientation."""
    return [
        bucket
        for bucket in family
        if bucket.target.width == bucket.target.height
        or (size.width >= size.height) == (bucket.target.width > bucket.target.height)
    ]


def _fits(source: Size, target: Size) -> bool:
    """Whether the source covers the target without upsampling."""
    return target.width <= source.width and target.height <= source.height
