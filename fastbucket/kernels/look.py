"""How an image looks, in a few integers: a perceptual hash, and what tells a placeholder.

The hash is that of a DCT (Zauner 2010, "Implementation and benchmarking of perceptual image hash
functions"): means of luma over 16x16 cells, their 8x8 lowest frequencies but the mean, and of each
whether it is above a threshold. All in integers, so that no bit depends on the CPU.

Every eighth row is looked at once: cells, levels and steps of luma come from the same line.

Measured in the transcoder, 640x480 to 576x416, on a busy core of a Zen 4 EPYC (CPU time, in turn,
least and median of 150): 30 us of 2,370 and 84 of 6,100 that the sample took, 1.3 %.

| in place of this                                                   | us, least | median |
|--------------------------------------------------------------------|-----------|--------|
| this, an empty kernel's call taken off                             | 30        | 84     |
| every fourth row read, and nothing done with it                    | 4         | 20     |
| every fourth row                                                   | 70        | 91     |

Later, as shares of this, between a decode and an encode: cells summed one by one 1.11; luma as
bytes 1.2; the next of the rows that are read fetched meanwhile 1.0.

Hashes from all rows are hardly nearer between copies: a bit at most, in 9 of 10.
"""

from __future__ import annotations

from math import cos, pi

import numba
import numpy as np

from .border import THOUSAND, border_share

CELLS = 16
"""Cells an axis. More would only see what the eight lowest frequencies do not."""

FREQUENCIES = 8
"""An axis: 64 bits in all."""

DEAD = 1
"""Amplitude, in levels of luma, up to which a frequency counts as absent: its bit is 0. Without it
the bits of a symmetric picture, or a blank one, would be those of its noise."""

ROWS = 8
PIXELS = 4
"""Every ROWS-th row is looked at, and of it the luma of every PIXELS-th pixel counted."""

SPARSE = 64
"""Pixels of a side below which nothing is left out."""

WINDOW = 8
"""Neighbouring levels of luma that count as one: the noise of a flat area under JPEG."""

APART = 32
"""Levels between the middles of the two commonest."""

STEP = 32
"""Levels from one pixel to its neighbour that make an edge."""

_COSINE_BITS = 10
_COSINES = np.array(
    [
        [round(cos(pi * (2 * x + 1) * u / (2 * CELLS)) * (1 << _COSINE_BITS)) for x in range(CELLS)]
        for u in range(FREQUENCIES + 1)
    ],
    np.int32,
)
# A wave of amplitude a sums up to a x (CELLS / 2)^2 where both frequencies are above 0, to twice
# that where one is 0. Cells have 4 fractional bits.
_CELL_BITS = 4
_DEAD_SUM = DEAD * (CELLS // 2) ** 2 << (_COSINE_BITS + _CELL_BITS)


@numba.njit(boundscheck=False, nogil=True)
def _pass(pixels, cells, counts):
    """The pass over the pixels, uint32 (h, w), R in the lowest byte.

    cells: int32 (CELLS, CELLS), mean luma with _CELL_BITS fractional bits; those of an image
    smaller than that overlap. counts: int32 (512,), zeros: how often each level of luma was met,
    in two parts. Returns thousandths of neighbours in a row that make an edge.
    """
    height, width = pixels.shape
    step = ROWS if height >= SPARSE else 1
    along = PIXELS if width >= SPARSE else 1
    line = np.empty(width, np.int32)
    columns = np.empty(width, np.int32)
    running = np.zeros(width + 1, np.int64)
    edges, lines = np.int64(0), np.int64(0)
    for row in range(CELLS):
        top = row * height // CELLS
        bottom = max((row + 1) * height // CELLS, top + 1)
        columns[:] = 0
        rows = 0
        for y in range(top, bottom, step):
            source = pixels[y]
            for x in range(width):
                pixel = np.int32(source[x])
                level = (
                    (pixel & np.int32(255))
                    + ((pixel >> np.int32(7)) & np.int32(510))
                    + ((pixel >> np.int32(16)) & np.int32(255))
                ) >> np.int32(2)
                line[x] = level
                columns[x] += level
            steps = np.int32(0)
            for x in range(width - 1):
                difference = np.int32(line[x + 1] - line[x])
                steps += np.int32(np.int32(difference * difference) >= np.int32(STEP * STEP))
            edges += steps
            # Two counters in turns: the same level again need not wait for the last one.
            first = (y // step) % along
            for i in range((width - first + 2 * along - 1) // (2 * along)):
                x = first + 2 * along * i
                counts[line[x] & 255] += np.int32(1)
                x = min(x + along, width - 1)
                counts[256 + (line[x] & 255)] += np.int32(1)
            rows += 1
        lines += rows
        # Differences of running sums: a vectorised sum of each of 256 short stretches takes longer.
        total = np.int64(0)
        for x in range(width):
            total += columns[x]
            running[x + 1] = total
        for column in range(CELLS):
            left = column * width // CELLS
            right = max((column + 1) * width // CELLS, left + 1)
            total = running[right] - running[left]
            cells[row, column] = (total << _CELL_BITS) // (rows * (right - left))
    return THOUSAND * edges // max(lines * (width - 1), 1)


@numba.njit(boundscheck=False, nogil=True)
def _hash(cells):
    """64 bits, lowest first: frequencies across, then down, in the order of reading.

    In the place of the mean stands the ninth frequency across.
    """
    across = np.empty((FREQUENCIES + 1, CELLS), np.int32)
    for u in range(FREQUENCIES + 1):
        for y in range(CELLS):
            total = np.int32(0)
            for x in range(CELLS):
                total += np.int32(_COSINES[u, x] * cells[y, x])
            across[u, y] = total >> np.int32(_COSINE_BITS)
    bits = np.uint64(0)
    for v in range(FREQUENCIES):
        for u in range(FREQUENCIES):
            at = FREQUENCIES if u + v == 0 else u
            total = np.int32(0)
            for y in range(CELLS):
                total += np.int32(_COSINES[v, y] * across[at, y])
            if total > _DEAD_SUM << np.int32(v == 0 or u == 0):
                bits |= np.uint64(1) << np.uint64(v * FREQUENCIES + u)
    return np.int64(bits)


@numba.njit(boundscheck=False, nogil=True)
def _shares(counts):
    """Range of luma without the darkest and the brightest hundredth; thousandths of the commonest
    level, and of it with the commonest of the others, as WINDOW and APART say."""
    total = np.int64(0)
    for level in range(256):
        total += counts[level]
    low, high, below, above = 0, 255, np.int64(0), np.int64(0)
    while 100 * (below + counts[low]) <= total:
        below += counts[low]
        low += 1
    while 100 * (above + counts[high]) <= total:
        above += counts[high]
        high -= 1
    windows = np.empty(256 - WINDOW + 1, np.int64)
    windows[0] = counts[:WINDOW].sum()
    for at in range(1, len(windows)):
        windows[at] = windows[at - 1] + counts[at + WINDOW - 1] - counts[at - 1]
    first = np.argmax(windows)
    second = np.int64(0)
    for at in range(len(windows)):
        if abs(at - first) >= APART:
            second = max(second, windows[at])
    modal = windows[first]
    return high - low, THOUSAND * modal // total, THOUSAND * (modal + second) // total


@numba.njit("UniTuple(int64, 6)(uint8[:, :, ::1])", cache=True, nogil=True, boundscheck=False)
def look(rgbx):
    """RGBX uint8 (h, w, 4), h and w from 1, to six integers: the 64 bits of the hash (as a signed
    number), luma_range, modal_share, bimodal_share, edge_share, border_share; see `look.Look`.

    Raises ValueError for an array without pixels.
    """
    height, width = rgbx.shape[:2]
    if rgbx.shape[2] != 4 or height < 1 or width < 1:
        raise ValueError("no RGBX pixels")
    if rgbx.ctypes.data % 4:  # small images are decoded to an odd address, where no uint32 may lie
        rgbx = rgbx.copy()
    pixels = rgbx.reshape(height, 4 * width).view(np.uint32)
    cells = np.empty((CELLS, CELLS), np.int32)
    counts = np.zeros(512, np.int32)
    edges = _pass(pixels, cells, counts)
    luma_range, modal, bimodal = _shares(counts[:256] + counts[256:])
    border = border_share(pixels)
    return _hash(cells), luma_range, modal, bimodal, edges, border
