"""Which source sizes fall into which bucket, as outlines for the plot of sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ..buckets import CHOICES, Bucket
from .charts import Region

_SIDE = 1 << 20
"""Pixels of the sides that a rule is asked about: ratios to 1e-6."""

_STEPS = 768
"""Ratios that are tried, from 1:64 to 64:1; between two that differ the border is bisected."""

_FAR = 1 << 20
"""Pixels: beyond every plot."""


def regions(buckets: Sequence[Bucket], rule: str, counts: Mapping[str, int]) -> list[Region]:
    """The outline of every bucket that `rule` chooses for some ratio: those sizes that it is the
    first choice for, and that cover its target. counts: samples by bucket_id."""
    found = []
    for index, first, last in _bands(buckets, rule):
        if index < 0:  # no bucket of that orientation
            continue
        bucket = buckets[index]
        width, height = bucket.target
        ratio = min(max(width / height, first), last)  # its own, where that is its own
        corners = [
            (height * last, height) if height * last >= width else (width, width / last),
            (max(width, height * ratio), max(height, width / ratio)),
            (width, width / first) if width / first >= height else (height * first, height),
            (_FAR * math.sqrt(first), _FAR / math.sqrt(first)),
            (_FAR * math.sqrt(last), _FAR / math.sqrt(last)),
        ]
        found.append(Region(bucket.id, corners, bucket.target, counts.get(bucket.id, 0)))
    return found


def _bands(buckets: Sequence[Bucket], rule: str) -> list[tuple[int, float, float]]:
    """(index of the bucket, from ratio, to ratio), from tall to wide."""
    ratios = [2 ** (12 * step / _STEPS - 6) for step in range(_STEPS + 1)]
    bands: list[tuple[int, float, float]] = []
    begun = ratios[0]
    for low, high in pairwise(ratios):
        before, after = (_chosen(buckets, rule, ratio) for ratio in (low, high))
        while before != after:
            border, other = _border(buckets, rule, low, high)
            bands.append((before, begun, border))
            begun = low = border
            before = other
            if other == after:
                break
    return [*bands, (_chosen(buckets, rule, ratios[-1]), begun, ratios[-1])]


def _border(buckets: Sequence[Bucket], rule: str, low: float, high: float) -> tuple[float, int]:
    """The first border above `low`, and who begins there."""
    mine = _chosen(buckets, rule, low * (1 + 1e-9))
    other = _chosen(buckets, rule, high)
    for _ in range(40):
        middle = math.sqrt(low * high)
        met = _chosen(buckets, rule, middle)
        if met == mine:
            low = middle
        else:
            high, other = middle, met
    return high, other


def _chosen(buckets: Sequence[Bucket], rule: str, ratio: float) -> int:
    """The bucket of a ratio, -1 for none: the rule of `buckets.CHOICES`, as the plan's kernel
    applies it."""
    w, h = round(_SIDE * math.sqrt(ratio)), round(_SIDE / math.sqrt(ratio))
    distance = CHOICES[rule]
    best, index = (1, 0), -1
    for at, bucket in enumerate(buckets):
        width, height = bucket.target
        if width != height and (width > height) != (w >= h):
            continue
        found = distance(w, h, width, height)
        if index < 0 or found[0] * best[1] < best[0] * found[1]:
            best, index = found, at
    return index
