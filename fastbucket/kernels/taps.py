"""Weights of the antialiased bicubic filter, laid out for the resample kernel.

Plain IEEE doubles in a fixed order, rounded to integers: the same on every CPU. No division is by
zero, and without numba's check for it (`error_model`) this takes 20 % less. In numba, because
most images of a mixed source have a size of their own: numpy took 330 us for both axes of a
640x480 image, more than the kernel; this takes 30 us, or 65 where taps are packed one by one.

Outputs run in the inner loops, which LLVM makes vectors of, and everything there is a double or an
int32: only with AVX-512 are there vectors that turn int64 into doubles. Reciprocals instead of both
divisions, which do not round alike, would take 0.95; one array for all that is kept an output, 1.6:
LLVM no longer sees that its rows do not overlap.
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

    scale: source pixels an output; pixels: of the source. Returns int64 (count,) start, int32
    (count,) low and high, and int32 (room + 2, count) weights in units of 2^-14: source pixel
    start[x] + k weighs weights[k + 1, x] in output x, and only low[x] <= k < high[x] weigh
    anything; the first and the last row are zeros. The weights of an output sum to exactly 2^14.
    The filter widens with the shrink (antialias) and is cut and normalised anew at the borders, as
    Pillow and torch do it. Raises ValueError where the outputs lie outside of the source.
    """
    if scale <= 0 or first < 0 or count < 1 or (first + count - 0.5) * scale >= pixels:
        raise ValueError("outputs outside of the source")
    widened = max(scale, 1.0)
    room = min(np.int64(2 * SUPPORT * widened) + 2, pixels)
    start = np.empty(count, np.int64)
    center, middle, size = np.empty(count), np.empty(count), np.empty(count)
    for x in range(count):
        center[x] = (first + x + 0.5) * scale
        start[x] = max(np.int64(center[x] - SUPPORT * widened + 0.5), 0)
        end = min(np.int64(center[x] + SUPPORT * widened + 0.5), pixels)
        middle[x] = start[x] + 0.5
        size[x] = min(end - start[x], room)
    value, total = np.empty((room, count)), np.zeros(count)
    for k in range(room):
        at = np.float64(k)
        for x in range(count):
            weight = _bicubic((middle[x] + at - center[x]) / widened)
            value[k, x] = weight if at < size[x] else 0.0
            total[x] += value[k, x]
    weights = np.empty((room + 2, count), np.int32)
    weights[0] = weights[room + 1] = 0
    summed, absolute = np.zeros(count, np.int32), np.zeros(count, np.int32)
    best, largest = np.zeros(count, np.int32), np.zeros(count, np.int32)
    low, high = np.full(count, room, np.int32), np.zeros(count, np.int32)
    for k in range(np.int32(room)):
        for x in range(count):
            whole = np.int32(np.rint(value[k, x] / total[x] * UNIT))
            weights[k + 1, x] = whole
            summed[x] += whole
            absolute[x] += abs(whole)
            best[x] = k if whole > largest[x] else best[x]
            largest[x] = max(whole, largest[x])
            low[x] = min(low[x], k) if whole else low[x]
            high[x] = k + np.int32(1) if whole else high[x]
    most = np.int32(0)
    for x in range(count):
        # What rounding lost goes to the largest weight: a flat area keeps its value exactly.
        lost = np.int32(UNIT) - summed[x]
        weights[best[x] + 1, x] += lost
        low[x], high[x] = min(low[x], best[x]), max(high[x], best[x] + 1)  # if all became 0
        most = max(most, absolute[x] + abs(lost))
    if most > LARGEST_SUM:
        raise ValueError("weights too large for the kernel's integers")
    return start, low, high, weights


@numba.njit(nogil=True, error_model="numpy")
def _paired(weights, first, pairs):
    """Weights two by two, int32 (pairs, count): of output x those of taps first[x] and the next in
    the low and the high half of pair 0, and so on; zeros where it has no such taps.

    By values of `first`, of which there are few: for the outputs of one value all is a shift.
    """
    room, count = weights.shape[0] - 2, weights.shape[1]
    paired = np.zeros((pairs, count), np.int32)
    least, most = first.min(), first.max()
    met = np.zeros(most - least + 1, np.bool_)
    for x in range(count):
        met[first[x] - least] = True
    for k in range(least, most + np.int32(1)):
        if not met[k - least]:
            continue
        for pair in range(pairs):
            at = k + 2 * pair + 1  # row 0 is tap -1
            if not 0 <= at <= room:
                continue
            low, high = weights[at], weights[at + 1]
            for x in range(count):
                both = low[x] & np.int32(0xFFFF) | high[x] << np.int32(16)
                paired[pair, x] = both if first[x] == k else paired[pair, x]
    return paired


@numba.njit(nogil=True, error_model="numpy")
def _blocks(paired, blocks, lanes):
    """int32 (pairs, count) as (blocks, pairs, lanes): outputs side by side. Padded with zeros."""
    pairs, count = paired.shape
    packed = np.zeros((blocks, pairs, lanes), np.int32)
    for block in range(count // lanes):
        for pair in range(pairs):
            for lane in range(lanes):
                packed[block, pair, lane] = paired[pair, block * lanes + lane]
    for x in range(count // lanes * lanes, count):
        packed[count // lanes, :, x % lanes] = paired[:, x]
    return packed


@numba.njit(cache=True, nogil=True, error_model="numpy")  # by itself for tests alone
def rows(scale, pixels, first, count):
    """The vertical axis, in groups of two target rows that share their source rows.

    Returns for each group the first source row, the number of pairs of source rows, and the
    weights (groups, pairs, 2). Padded to an even number of groups; those have no pairs.
    """
    start, low, high, weights = taps(scale, pixels, first, count)
    groups, most = -(-count // 4) * 2, 0
    source, pairs = np.zeros(groups, np.int32), np.zeros(groups, np.int32)
    tap = np.empty(count, np.int32)
    for group in range(-(-count // 2)):
        one, other = 2 * group, min(2 * group + 1, count - 1)
        source[group] = min(start[one] + low[one], start[other] + low[other])
        end = max(start[one] + high[one], start[other] + high[other])
        pairs[group] = (end - source[group] + 1) // 2
        most = max(most, pairs[group])
        tap[one], tap[other] = source[group] - start[one], source[group] - start[other]
    return source, pairs, _blocks(_paired(weights, tap, most), groups, 2)


@numba.njit(cache=True, nogil=True, error_model="numpy")  # as above
def columns(scale, pixels, first, count):
    """The horizontal axis, in blocks of four target columns.

    Pairs of source pixels are counted from `left`, the first pixel that is needed or one shortly
    before it. Returns `left`, the number of pairs that are read, for each column its first pair,
    and the weights (blocks, pairs, 4). Padded to whole blocks, with weights of zero.
    """
    start, low, high, weights = taps(scale, pixels, first, count)
    left, right, pairs = pixels, 0, 0
    for x in range(count):
        left, right = min(left, start[x] + low[x]), max(right, start[x] + high[x])
    # Rows of whole cache lines are aligned alike, and so are the kernel's reads then, unless the
    # image is small (`decode.turbo.NEAR`); there it costs a few columns.
    if pixels % LINE == 0:
        left -= left % LINE
    for x in range(count):
        begin, end = start[x] + low[x] - left, start[x] + high[x] - left
        pairs = max(pairs, (end + 1) // 2 - begin // 2)
    read = max((right - left + 1) // 2, pairs)
    blocks = -(-count // 4)
    source, tap = np.zeros(4 * blocks, np.int32), np.empty(count, np.int32)
    for x in range(count):
        # Not past the last pair: where others have more taps, these begin with zeros.
        source[x] = min((start[x] + low[x] - left) // 2, read - pairs)
        tap[x] = left + 2 * source[x] - start[x]
    return left, read, source, _blocks(_paired(weights, tap, pairs), blocks, 4)


@numba.njit(
    "Tuple((int32[::1], int32[::1], int32[:, :, ::1], int64, int64, int32[::1], int32[:, :, ::1]))"
    "(float64, int64, int64, int64, float64, int64, int64, int64)",
    cache=True,
    nogil=True,
    error_model="numpy",
)
def window(down, height, first_row, row_count, across, width, first_column, column_count):
    """`rows` and `columns` of a window of the target, one after the other, as `resample` has them.

    down, across: source pixels an output, of an axis each; height, width: of the source in pixels;
    first_row, first_column: top and left edge of the window in the resized image; row_count,
    column_count: its size. Raises ValueError where it lies outside of the source.

    One call, and one copy of the code that both need, which comes from far away after the pixels of
    an image: with the scratch cut by `resample` some 10 us of a sample less than two calls.
    """
    return rows(down, height, first_row, row_count) + columns(
        across, width, first_column, column_count
    )
