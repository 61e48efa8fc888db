"""Fused cover-resize and crop: antialiased bicubic, in integers, the same on every CPU.

Vertical first, then horizontal, four target rows at a time, with AVX-512 twice four. Weights are
int16 with 14 fractional bits, the row between the passes is int16 with 6, and both passes are
multiply-adds of two taps at once (`pmaddwd`) with nothing to add up across a vector:

- Vertical, two target rows by a strip of source columns, sums in registers. The bytes of two
  source rows are interleaved, so that a pair of int16 is one channel in both.
- The rows between lie as pairs of pixels, the four rows of a pair side by side (64 bytes): just
  what the horizontal pass multiplies by one pair of weights. A lane is a row, all the way to the
  bytes, and the packing instructions, which keep to their lanes, turn four columns into 16 bytes
  of each row.

Only rows and columns that the crop needs are read, and up to a strip beyond them.

What was tried, in milliseconds (least of many runs in turn, one core of a Zen 4 EPYC, numba 0.68).
A: 640x480 to 576x416, B: 1600x900 to 672x384, cut out of 576x432 and 683x384.

| both passes                                                              | A    | B    |
|--------------------------------------------------------------------------|------|------|
| this, with AVX-512                                                       | 0.21 | 0.54 |
| this, with AVX2                                                          | 0.26 | 0.72 |
| this, with what every x86-64 has                                         | 0.63 | 2.05 |
| multiply-add and packing as generic vectors: LLVM does not see through   | 0.75 | 1.6  |
| pairs of source rows that start at even ones: more of them               | 0.22 | 0.55 |
| plain loops for LLVM to vectorise, the horizontal one a pixel at a time  | 3.65 | 5.3  |
| torch's uint8 kernel, the whole image                                    | 0.88 | 1.8  |

| vertical alone                                                           | A    | B    |
|--------------------------------------------------------------------------|------|------|
| two target rows by 64 bytes (without AVX-512 by 32, see below)           | 0.11 | 0.40 |
| one target row: more interleaving for each product                       | 0.13 | 0.49 |
| four target rows: more products with weights of zero                     | 0.12 | 0.44 |
| two target rows by 32 bytes; with AVX2 0.16, and 64 bytes 0.26           | 0.15 | 0.49 |
| source rows interleaved once, in a ring: twice the bytes, from L2        | 0.14 | 0.55 |

| horizontal alone                                                         | A    | B    |
|--------------------------------------------------------------------------|------|------|
| four rows to a vector                                                    | 0.11 | 0.21 |
| the same, clamped and cut to bytes by generic vectors                    | 0.14 | 0.22 |
| one row at a time, a pixel to 128 bits, four pixels in flight            | 0.31 | 0.51 |
| eight rows to two vectors (what came of it later is below)               | 0.09 | 0.16 |
| a loop compiled for every number of pairs: not worth the code            | 0.10 | 0.19 |

Later, as a share of the whole kernel's time (the tables above are of the first one, some 3 %
slower), over the sizes of 236 photos, in turn:

| both passes, in place of this                                            | AVX-512      | AVX2 |
|--------------------------------------------------------------------------|--------------|------|
| weights of the horizontal pass spread from memory, not four by a load    | 1.03         | 1.01 |
| vertical: products with weights of zero left out, at both ends           | 1.00         |      |
| vertical: four target rows, products with weights of zero jumped over:   | 0.98 to 0.99 |      |
| has no registers without AVX-512                                         |              |      |
| from the last rows to the first, which the decoder has left in the L2    | 1.00 to 1.02 |      |

In the pipeline, where the decoder has just written the source and its first rows have left the L2,
the rows that come next are fetched ahead. 236 images as in ImageNet, 59 photos of some 7
megapixels, in turn, as a share of the kernel's time between a decode and an encode:

| in place of this                                                      | ImageNet | photos |
|-----------------------------------------------------------------------|----------|--------|
| nothing fetched (with AVX2 1.07)                                      | 1.11     | 1.17   |
| into the L1: at 1024x768, warm, 16 % more than without any            | 1.01     | 1.07   |
| during the horizontal pass, for two groups at once                    | 1.01     | 1.02   |
| for the group after the next                                          | 1.00     | 0.99   |
| as the loop `range(ahead, end, stride)`, whose length is a division   | 1.02     |        |
| past the caches of the second level (`prefetchnta`)                   | 1.01     |        |
| the target's next lines fetched for writing, too                      | 1.03     |        |
| weights of the horizontal pass spread in registers (see below)        | 0.99     |        |
| one or two of four of them in registers                               | 1.02     |        |

Later still the horizontal pass was given eight rows with AVX-512, and weights that are spread in
registers, which LLVM had undone before (a load of 4 bytes that fills 64 is a load like any). Of the
whole kernel's time over 48 of those sizes, least of 30 in turn (with what every x86-64 has the
first of them takes 1.06):

| in place of this                                                      | AVX-512  | AVX2 |
|-----------------------------------------------------------------------|----------|------|
| four rows, weights as LLVM would have them                            | 1.07     | 1.00 |
| eight rows, weights as LLVM would have them                           | 1.02     |      |
| four rows, weights spread in registers                                | 1.05     |      |
| half a page (2 KiB) between the two lines, counted within pages       | 1.00     |      |
| int32 cut to int16 by `vpermt2b` instead of shifts and blends         | 1.00     |      |
| rows interleaved and widened by shuffles of bytes and `or`            | 1.1      |      |

A source of RGB instead of RGBX: 1.02 to 1.17 of the time (two `vpermt2b` a pair of rows; 1.15 to
1.35 with `vpexpandb`; 640x480 to 2304x1536), and the decoder is no faster with it (0.99 to 1.02).

It is bound by the multiply-adds in the vertical pass (one of 64 bytes a cycle; eight take 9.6
cycles, and a strip 16 more), by loads in the horizontal one (nine for eight multiply-adds, 10
cycles), and from some 3 megapixels on by memory. With a source aligned to 64 bytes it takes 3 %
less at 640x480 and 17 % less at 1024x768, where all rows of a group fall on the same sets of the L1
cache. An odd address spares a whole sample more than that (`decode.turbo.NEAR`).
"""

from __future__ import annotations

import numba
import numpy as np

from .rgbx import ROW_BITS, WEIGHT_BITS, store_block, store_rows, zip_rows
from .vectors import address, dot, dot_each, fetch, fill, load, repeated, spread, x86_bits

STRIP = 64 if x86_bits() == 512 else 32
"""Bytes of a source row at a time: eight sums fit into the registers."""

LINES = 2 if x86_bits() == 512 else 1
"""Fours of target rows that a horizontal pass makes at once: the sums fit into the registers."""

# Numba freezes globals into the compiled kernel.
_LINES = LINES
_STRIP_SUMS = STRIP // 4
_BLOCK_SUMS = 16
_ROW_HALF = 1 << (WEIGHT_BITS - ROW_BITS - 1)
_FINAL_HALF = 1 << (WEIGHT_BITS + ROW_BITS - 1)


@numba.njit(boundscheck=False, nogil=True)
def _down(line, half, row_at, pairs, weights, ahead, stride, more):
    """The vertical pass: rows 2 x half and 2 x half + 1 between, from source rows at `row_at`.

    Meanwhile `more` rows from `ahead` on, which come next, are fetched.
    """
    to, rounding = address(line) + 32 * half, fill(np.int32(_ROW_HALF), _STRIP_SUMS)
    for strip in range(0, line.shape[0] * 8, STRIP):
        for row in range(more):
            fetch(ahead + row * stride + strip)
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = rounding
        for k in range(pairs):
            upper = load(row_at[2 * k] + strip, 8, STRIP)
            lower = load(row_at[2 * k + 1] + strip, 8, STRIP)
            p0, p1, p2, p3 = zip_rows(upper, lower)
            weight = weights[k, 0]
            a0, a1 = dot(a0, p0, weight), dot(a1, p1, weight)
            a2, a3 = dot(a2, p2, weight), dot(a3, p3, weight)
            weight = weights[k, 1]
            b0, b1 = dot(b0, p0, weight), dot(b1, p1, weight)
            b2, b3 = dot(b2, p2, weight), dot(b3, p3, weight)
        store_rows(to + 8 * strip, 64, (a0, a1, a2, a3), (b0, b1, b2, b3))


@numba.njit(boundscheck=False, nogil=True)
def _across(line, other, column_first, column_weights, target, y, below):
    """The horizontal pass: rows y to y + 4 of the target from the rows between in `line`, and where
    LINES is 2 also rows `below` to below + 4, by the same weights, from those in `other`."""
    stride = np.int64(4 * target.shape[1])
    to, to_below = address(target) + y * stride, address(target) + below * stride
    line_at, apart = address(line), address(other) - address(line)
    weights_at, pairs = address(column_weights), np.int64(column_weights.shape[1])
    rounding = fill(np.int32(_FINAL_HALF), _BLOCK_SUMS)
    for block in range(column_weights.shape[0]):
        c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = rounding
        at0 = line_at + 64 * np.int64(column_first[4 * block])
        at1 = line_at + 64 * np.int64(column_first[4 * block + 1])
        at2 = line_at + 64 * np.int64(column_first[4 * block + 2])
        at3 = line_at + 64 * np.int64(column_first[4 * block + 3])
        for k in range(pairs):
            weights = repeated(load(weights_at + 16 * (block * pairs + k), 32, 4), _BLOCK_SUMS)
            w0, w1 = spread(weights, 0), spread(weights, 1)
            w2, w3 = spread(weights, 2), spread(weights, 3)
            c0 = dot_each(c0, load(at0 + 64 * k, 16, 32), w0)
            c1 = dot_each(c1, load(at1 + 64 * k, 16, 32), w1)
            c2 = dot_each(c2, load(at2 + 64 * k, 16, 32), w2)
            c3 = dot_each(c3, load(at3 + 64 * k, 16, 32), w3)
            if _LINES == 2:
                d0 = dot_each(d0, load(at0 + 64 * k + apart, 16, 32), w0)
                d1 = dot_each(d1, load(at1 + 64 * k + apart, 16, 32), w1)
                d2 = dot_each(d2, load(at2 + 64 * k + apart, 16, 32), w2)
                d3 = dot_each(d3, load(at3 + 64 * k + apart, 16, 32), w3)
        store_block(to + 16 * block, stride, (c0, c1, c2, c3))
        if _LINES == 2:
            store_block(to_below + 16 * block, stride, (d0, d1, d2, d3))


def room(width: int, height: int, left: int, read: int) -> tuple[int, int]:
    """Bytes of a line of strips, and how many of the last rows end before the last strip does.

    width, height: of the source; left, read: as `taps.columns` returns them. `resample` needs
    scratch for the rows between, 8 such lines for each four target rows of LINES, and for a copy of
    each of those last rows, a line.
    """
    line = -(-8 * read // STRIP) * STRIP
    whole = (4 * width * height - 4 * left - line) // (4 * width) + 1
    return line, height - min(max(whole, 0), height)


_room = numba.njit(boundscheck=False, nogil=True)(room)


@numba.njit(boundscheck=False, nogil=True)
def _within(source, row_first, row_pairs, row_weights, left, read, first, weights, scratch, target):
    """Whether nothing leads out of the arrays; `first` and `weights` are those of the columns."""
    rows, stride = source.shape[0], 4 * source.shape[1]
    fine = source.shape[2] == 4 and target.shape[2] == 4
    fine &= row_weights.shape[2] == 2 and weights.shape[2] == 4
    fine &= len(row_first) == len(row_pairs) == len(row_weights)
    fine &= target.shape[0] == 2 * len(row_weights) and target.shape[0] % 4 == 0
    fine &= target.shape[1] == 4 * len(weights) == len(first)
    # Also far from where the sizes below overflow.
    fine &= 0 <= left < source.shape[1] and 0 <= read <= stride
    if not fine:  # the loops below take lengths for equal
        return False
    line, past = _room(source.shape[1], rows, left, read)
    if len(scratch) < (8 * _LINES + past) * line:
        return False
    for group in range(len(row_first)):
        fine &= 0 <= row_first[group] < rows
        fine &= 0 <= row_pairs[group] <= row_weights.shape[1]
    for x in range(len(first)):
        fine &= 0 <= first[x] <= line // 8 - weights.shape[1]
    return fine


@numba.njit(
    "void(uint8[:, :, ::1], int32[::1], int32[::1], int32[:, :, ::1], int64, int64, int32[::1],"
    " int32[:, :, ::1], uint8[::1], uint8[:, :, ::1])",
    cache=True,
    nogil=True,
    boundscheck=False,
)
def resample(
    source,
    row_first,
    row_pairs,
    row_weights,
    left,
    read,
    column_first,
    column_weights,
    scratch,
    target,
):
    """Resample `source` into `target`; both are RGBX uint8, (h, w, 4) and (H, W, 4).

    H and W are multiples of 4; every byte is written, X as 255.
    row_first, row_pairs: int32 (H / 2,), the first source row of two target rows and the number of
    pairs of source rows. row_weights: int32 (H / 2, most pairs, 2), two int16 in units of 2^-14 in
    each. A padded tap may lie past the last row; that is read again instead.
    left, read: the first source column that is read, from where pairs of columns are counted, and
    how many pairs.
    column_first: int32 (W,), first pair of each target column; column_weights: int32
    (W / 4, pairs, 4).
    scratch: uint8 (n,), aligned as `buffers.aligned` is, for the rows between the passes and for
    those at the source's end; `room` says how much it takes.
    Raises ValueError where these lead out of the arrays: what follows takes addresses, and checks
    nothing.
    """
    if not _within(
        source,
        row_first,
        row_pairs,
        row_weights,
        left,
        read,
        column_first,
        column_weights,
        scratch,
        target,
    ):
        raise ValueError("weights, scratch or target that do not fit the source")
    rows, stride = source.shape[0], np.int64(4 * source.shape[1])
    reach, past = _room(source.shape[1], rows, left, read)
    whole, between = rows - past, 8 * _LINES * reach
    lines = scratch[:between].view(np.int16).reshape(_LINES, reach // 8, 4, 8)
    edge = scratch[between : between + past * reach].reshape(past, reach)
    for r in range(past):
        for i in range(reach):
            column = left + i // 4
            edge[r, i] = source[whole + r, column, i % 4] if column < source.shape[1] else 0
    source_at, edge_at = address(source) + 4 * left, address(edge)
    row_at = np.empty(2 * row_weights.shape[1], np.int64)
    for group in range(row_weights.shape[0]):
        pairs = np.int64(row_pairs[group])
        for i in range(2 * pairs):
            r = min(np.int64(row_first[group]) + i, rows - 1)
            row_at[i] = source_at + r * stride if r < whole else edge_at + (r - whole) * reach
        end = np.int64(row_first[group]) + 2 * pairs
        more = np.int64(0)
        if group + 1 < row_weights.shape[0]:
            further = np.int64(row_first[group + 1]) + 2 * np.int64(row_pairs[group + 1])
            more = min(further, whole) - end
        ahead = source_at + end * stride
        which = group // 2 % _LINES
        _down(lines[which], group % 2, row_at, pairs, row_weights[group], ahead, stride, more)
        if group % 2 and (which + 1 == _LINES or group + 1 == row_weights.shape[0]):
            below = 2 * group - 2
            y = below - 4 * which  # the same where four rows are left: two LINES make them twice
            _across(lines[0], lines[which], column_first, column_weights, target, y, below)
