"""Bucket fit, for whole columns or one image: the choice rules of `buckets`, compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numba
import numpy as np

from ..buckets import CHOICES, Bucket
from ..geometry import Size

_short_long = numba.njit(CHOICES["short_long"])
_log_ratio = numba.njit(CHOICES["log_ratio"])
_min_crop = numba.njit(CHOICES["min_crop"])

RULES = ("short_long", "log_ratio", "min_crop")
"""Index = code of a rule in the kernel; a test holds it against buckets.CHOICES."""

ONLY_NEXT = 2
"""`next_bucket` of those that take no first choice which does not fit, or crops too much."""


Family: TypeAlias = "tuple[Bucket, ...]"
"""Buckets in list order."""


@numba.njit(nogil=True)
def _distance(rule, w, h, width, height):
    if rule == 0:
        return _short_long(w, h, width, height)
    if rule == 1:
        return _log_ratio(w, h, width, height)
    return _min_crop(w, h, width, height)


@numba.njit(
    "void(int32[::1], int32[::1], int64[::1], int64[::1], int64, int64, float64,"
    " int16[::1], boolean[::1])",
    cache=True,
    nogil=True,
)
def _fit(w, h, widths, heights, rule, next_bucket, max_crop, bucket, fits):
    for i in range(w.size):
        wi, hi = np.int64(w[i]), np.int64(h[i])
        bucket[i] = -1
        fits[i] = False
        if wi <= 0 or hi <= 0:
            continue
        best_n, best_d = np.int64(0), np.int64(0)
        next_n, next_d, next_b = np.int64(0), np.int64(0), -1
        for b in range(widths.size):
            width, height = widths[b], heights[b]
            # A square bucket belongs to both orientations, a square image is landscape.
            if width != height and (wi >= hi) != (width > height):
                continue
            n, d = _distance(rule, wi, hi, width, height)
            if bucket[i] < 0 or n * best_d < best_n * d:
                best_n, best_d = n, d
                bucket[i] = b
            if next_bucket and width <= wi and height <= hi:
                area, unit = _min_crop(wi, hi, width, height)
                if area <= max_crop * unit * wi * hi and (next_b < 0 or n * next_d < next_n * d):
                    next_n, next_d, next_b = n, d, b
        if bucket[i] >= 0:
            fits[i] = (
                next_bucket != ONLY_NEXT and widths[bucket[i]] <= wi and heights[bucket[i]] <= hi
            )
            if not fits[i] and next_b >= 0:
                bucket[i] = next_b
                fits[i] = True


@numba.njit(
    "Tuple((int64, boolean))(int32, int32, int64[::1], int64[::1], int64, int64, float64)",
    cache=True,
    nogil=True,
)
def _fit_one(w, h, widths, heights, rule, next_bucket, max_crop):
    size = np.array([w, h], np.int32)
    bucket, fits = np.empty(1, np.int16), np.empty(1, np.bool_)
    _fit(size[:1], size[1:], widths, heights, rule, next_bucket, max_crop, bucket, fits)
    return bucket[0], fits[0]


class Targets(NamedTuple):
    """Widths and heights of a family's buckets, int64 each."""

    widths: np.ndarray
    heights: np.ndarray


def targets(buckets: Family) -> Targets:
    """What is left of a family here."""
    return Targets(
        np.array([bucket.target.width for bucket in buckets], np.int64),
        np.array([bucket.target.height for bucket in buckets], np.int64),
    )


def fit(
    width: np.ndarray,
    height: np.ndarray,
    buckets: Family,
    choice: str,
    next_bucket: int = 0,
    max_crop: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """The bucket of every sample, and whether the sample fits it without upsampling.

    width, height: pixels after EXIF orientation, int32 (n,); a row with 0 has no bucket.
    next_bucket: 1: a sample too small for its bucket takes the nearest one that it fits and that
    crops at most `max_crop` of its area; ONLY_NEXT: every sample takes that one.
    Returns index into `buckets` as int16 (n,), -1 for none, and bool (n,).
    """
    n = width.size
    bucket, fits = np.empty(n, np.int16), np.empty(n, np.bool_)
    _fit(
        np.ascontiguousarray(width, np.int32),
        np.ascontiguousarray(height, np.int32),
        *targets(buckets),
        RULES.index(choice),
        int(next_bucket),
        max_crop,
        bucket,
        fits,
    )
    return bucket, fits


def fit_bases(
    width: np.ndarray,
    height: np.ndarray,
    ladder: Sequence[Family],
    choice: str,
    next_bucket: bool = False,
    max_crop: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """As `fit`, for the bases of `buckets.ladder`: a sample's bucket is the same at all of them.

    It is chosen at the largest base, where rounding moves a ratio least. next_bucket: a sample that
    fits it at no base has the bucket that it would have at the smallest base alone.
    Returns index into each of `ladder` as int16 (n,), and how many bases the sample fits, from the
    smallest on, as uint8 (n,).
    """
    several = len(ladder) > 1
    bucket, fits = fit(width, height, ladder[-1], choice, next_bucket and not several, max_crop)
    if not several:
        return bucket, fits.astype(np.uint8)
    level = _level(width, height, bucket, ladder)
    if next_bucket:
        rest = np.flatnonzero((bucket >= 0) & (level == 0))
        w, h = width[rest], height[rest]
        other, fits = fit(w, h, ladder[0], choice, True, max_crop)
        bucket[rest[fits]] = other[fits]
        level[rest[fits]] = _level(w[fits], h[fits], other[fits], ladder)
    return bucket, level


def fit_image(
    size: Size,
    ladder: Sequence[Targets],
    choice: str,
    next_bucket: bool = False,
    max_crop: float = 0.0,
) -> tuple[int, int]:
    """`fit_bases` for one image of a size after EXIF orientation, in a third of the time: the index
    of its bucket in each of `ladder`, -1 for none, and how many bases it fits."""
    rule, several = RULES.index(choice), len(ladder) > 1
    bucket, fits = _fit_one(*size, *ladder[-1], rule, next_bucket and not several, max_crop)
    if not several:
        return bucket, int(fits)
    level = _bases(size, bucket, ladder)
    if next_bucket and bucket >= 0 and not level:
        other, fits = _fit_one(*size, *ladder[0], rule, True, max_crop)
        if fits:
            return other, _bases(size, other, ladder)
    return bucket, level


def _bases(size: Size, bucket: int, ladder: Sequence[Targets]) -> int:
    """At how many bases an image fits its bucket, 0 where it has none."""
    if bucket < 0:
        return 0
    width, height = size
    return sum(
        bool(family.widths[bucket] <= width and family.heights[bucket] <= height)
        for family in ladder
    )


def _level(
    width: np.ndarray, height: np.ndarray, bucket: np.ndarray, ladder: Sequence[Family]
) -> np.ndarray:
    """At how many bases each sample fits its bucket, 0 where it has none. uint8 (n,)."""
    level = np.zeros(width.size, np.uint8)
    for family in ladder:
        widths, heights = targets(family)
        level += (widths[bucket] <= width) & (heights[bucket] <= height) & (bucket >= 0)
    return level
