"""Weights of the antialiased bicubic filter, laid out for the resample kernel.

Plain IEEE doubles in a fixed order, rounded to integers: the same on every CPU. No division is by
zero, and without numba's check for it (`error_model`) this takes 20 % less. In numba, because
most images of a mixed source have a size of their own: numpy took 330 us for both axes of a
640x480 image, more than the kernel; this takes 45 us.
"""

from __future__ import annotations

import numba
import numpy as np

from .rgbx import WEIGHT_BITS

BICUBIC_A = -0.5
"""Catmull-Rom, the `a` of Pillow's BICUBIC and of torch's antialiased bicubic."""

SUPPORT = 2.0
"""Half the width of the filter, in filter units."""

UNIT = 1 << WEIGHT_BITS

LARGEST_SUM = 2 * UNIT
"""Bound of the sum of |weight| at one output, for any number of taps. With it a value between the
passes is at most 255 x 2 x 2^6 < 2^15, and a sum of the second pass 2^15 x 2 x 2^14 = 2^30."""

LINE = 16
"""Pixels of a cache line."""


@numba.njit(nogil=True, error_model="numpy")  # no signature: loaded as a part of its callers only
def _bicubic(x):
    """Keys' cubic convolution kernel. x: distance in filter units."""
    x = abs(x)
    near = ((BICUBIC_A + 2) * x - (BICUBIC_A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * BICUBIC_A
    return near if x < 1.0 else far if x < SUPPORT else 0.0


@numba.njit(nogil=True, error_model="numpy")
def taps(scale, pixels, first, count):
    """Taps of the outputs `first` to `first + count` of one axis.

    scale: source pixels an output; pixels: of the source. Returns int64 (count,) start, low and
    high, and int32 (room, count) weights in units of 2^-14: tap p of output x weighs
    weights[p - start[x], x], and only low[x] <= p < high[x] weigh anything. The weights of an
    output sum to exactly 2^14. The filter widens with the shrink (antialias) and is cut and
    normalised anew at the borders, as Pillow and torch do it. Raises ValueError where the outputs
    lie outside of the source.

    Outputs run in the inner loops, which LLVM makes vectors of: 2.5 times as fast as taps there.
    """
    if scale <= 0 or first < 0 or count < 1 or (first + count - 0.5) * scale >= pixels:
        raise ValueError("outputs outside of the source")
    widened = max(scale, 1.0)
    room = min(np.int64(2 * SUPPORT * widened) + 2, pixels)
    start, low = np.empty(count, np.int64), np.empty(count, np.int64)
    high, total = np.empty(count, np.int64), np.zeros(count)
    value = np.empty((room, count))
    for x in range(count):
        center = (first + x + 0.5) * scale
        low[x] = start[x] = max(np.int64(center - SUPPORT * widened + 0.5), 0)
        end = min(np.int64(center + SUPPORT * widened + 0.5), pixels)
        high[x] = min(end, start[x] + room)
    for k in range(room):
        for x in range(count):
            center = (first + x + 0.5) * scale
            weight = _bicubic((start[x] + k + 0.5 - center) / widened)
            value[k, x] = weight if start[x] + k < high[x] else 0.0
            total[x] += value[k, x]
    weights = np.empty((room, count), np.int32)
    summed, size = np.zeros(count, np.int32), np.zeros(count, np.int32)
    best, largest = np.zeros(count, np.int32), np.zeros(count, np.int32)
    for k in range(room):
        for x in range(count):
            whole = np.int32(np.rint(value[k, x] / total[x] * UNIT))
            weights[k, x] = whole
            summed[x] += whole
            size[x] += abs(whole)
            best[x] = k if whole > largest[x] else best[x]
            largest[x] = max(whole, largest[x])
    for x in range(count):
        # What rounding lost goes to the largest weight: a flat area keeps its value exactly.
        lost = UNIT - summed[x]
        weights[best[x], x] += lost
        if size[x] + abs(lost) > LARGEST_SUM:
            raise ValueError("weights too large for the kernel's integers")
        while weights[low[x] - start[x], x] == 0:
            low[x] += 1
        while weights[high[x] - 1 - start[x], x] == 0:
            high[x] -= 1
    return start, low, high, weights


@numba.njit(nogil=True, error_model="numpy")
def _pack(packed, x, at, weights, first, count):
    """`count` weights of output x from `first` on, for tap `at` of `packed` (blocks, pairs, n) on.

    The weight of an even tap becomes the low half of an int32, of an odd one the high half.
    """
    block, lane = x // packed.shape[2], x % packed.shape[2]
    pair, end = at >> 1, first + count
    k = first - (at & 1)  # the tap in the low half
    if k < first:
        packed[block, pair, lane] = weights[first, x] << 16
        pair, k = pair + 1, k + 2
    while k + 1 < end:
        packed[block, pair, lane] = weights[k, x] & 0xFFFF | weights[k + 1, x] << 16
        pair, k = pair + 1, k + 2
    if k < end:
        packed[block, pair, lane] = weights[k, x] & 0xFFFF


@numba.njit(
    "Tuple((int32[::1], int32[::1], int32[:, :, ::1]))(float64, int64, int64, int64)",
    cache=True,
    nogil=True,
    error_model="numpy",
)
def rows(scale, pixels, first, count):
    """The vertical axis, in groups of two target rows that share their source rows.

    Returns for each group the first source row, the number of pairs of source rows, and the
    weights (groups, pairs, 2). Padded to an even number of groups; those have no pairs.
    """
    start, low, high, weights = taps(scale, pixels, first, count)
    groups, most = -(-count // 4) * 2, 0
    source, pairs = np.zeros(groups, np.int32), np.zeros(groups, np.int32)
    for group in range(-(-count // 2)):
        one, other = 2 * group, min(2 * group + 1, count - 1)
        source[group] = min(low[one], low[other])
        pairs[group] = (max(high[one], high[other]) - source[group] + 1) // 2
        most = max(most, pairs[group])
    packed = np.zeros((groups, most, 2), np.int32)
    for y in range(count):
        at = low[y] - source[y // 2]
        _pack(packed, y, at, weights, low[y] - start[y], high[y] - low[y])
    return source, pairs, packed


@numba.njit(
    "Tuple((int64, int64, int32[::1], int32[:, :, ::1]))(float64, int64, int64, int64)",
    cache=True,
    nogil=True,
    error_model="numpy",
)
def columns(scale, pixels, first, count):
    """The horizontal axis, in blocks of four target columns.

    Pairs of source pixels are counted from `left`, the first pixel that is needed or one shortly
    before it. Returns `left`, the number of pairs that are read, for each column its first pair,
    and the weights (blocks, pairs, 4). Padded to whole blocks, with weights of zero.
    """
    start, low, high, weights = taps(scale, pixels, first, count)
    left, right, pairs = pixels, 0, 0
    for x in range(count):
        left, right = min(left, low[x]), max(right, high[x])
    if pixels % LINE == 0:  # then all rows are aligned alike, and so may the kernel's reads be
        left -= left % LINE
    for x in range(count):
        pairs = max(pairs, (high[x] - left + 1) // 2 - (low[x] - left) // 2)
    read = max((right - left + 1) // 2, pairs)
    blocks = -(-count // 4)
    source = np.zeros(4 * blocks, np.int32)
    packed = np.zeros((blocks, pairs, 4), np.int32)
    for x in range(count):
        # Not past the last pair: where others have more taps, these begin with zeros.
        source[x] = min((low[x] - left) // 2, read - pairs)
        at = low[x] - left - 2 * source[x]
        _pack(packed, x, at, weights, low[x] - start[x], high[x] - low[x])
    return left, read, source, packed
