"""Fused cover-resize and crop: antialiased bicubic, in integers, the same on every CPU.

Vertical first: a row of the target needs a few source rows, and adding weighted rows runs over
contiguous bytes. The row between the passes is int16 with 6 fractional bits; weights are int16
with 14. Only rows and columns that the crop needs are read.
"""

from __future__ import annotations

import numba
import numpy as np

WEIGHT_BITS = 14
ROW_BITS = 6
_VERTICAL_SHIFT = WEIGHT_BITS - ROW_BITS
_FINAL_SHIFT = WEIGHT_BITS + ROW_BITS

# Numba freezes globals into the compiled kernel, so these are one literal each in it.
_VERTICAL_HALF = 1 << (_VERTICAL_SHIFT - 1)
_FINAL_HALF = 1 << (_FINAL_SHIFT - 1)


@numba.njit(
    "void(uint8[:, :, ::1], int32[::1], int16[:, ::1], int32[::1], int16[:, ::1],"
    " uint8[:, :, ::1])",
    cache=True,
    nogil=True,
    boundscheck=False,
)
def resample(source, first_row, row_weights, first_column, column_weights, target):
    """Resample `source` into `target`; both are RGBX.

    source: uint8 (h, w, 4). target: uint8 (H, W, 4), every byte is written, X as 255.
    first_row: int32 (H,), first source row of each target row; row_weights: int16 (H, taps), in
    units of 2^-14, padded with zeros. The same for columns, (W,) and (W, taps).
    A padded tap may lie outside of the source; it is never read.
    """
    height, width = target.shape[0], target.shape[1]
    rows, columns = source.shape[0], source.shape[1]
    row_taps, column_taps = row_weights.shape[1], column_weights.shape[1]
    left = first_column[0]
    right = min(columns, first_column[width - 1] + column_taps)
    span = 4 * (right - left)
    sums = np.empty(span, np.int32)
    # Columns past the right edge carry weight zero; they are read as zeros, not left out.
    line = np.zeros(span + 4 * column_taps, np.int16)
    flat = source.reshape(rows, columns * 4)
    for y in range(height):
        sums[:] = _VERTICAL_HALF
        for k in range(row_taps):
            weight = np.int32(row_weights[y, k])
            if weight == 0:
                continue
            taps = flat[first_row[y] + k, 4 * left : 4 * right]
            for i in range(span):
                sums[i] += weight * np.int32(taps[i])
        for i in range(span):
            line[i] = np.int16(sums[i] >> _VERTICAL_SHIFT)
        for x in range(width):
            at = 4 * (first_column[x] - left)
            r = np.int32(_FINAL_HALF)
            g = np.int32(_FINAL_HALF)
            b = np.int32(_FINAL_HALF)
            for k in range(column_taps):
                weight = np.int32(column_weights[x, k])
                r += weight * np.int32(line[at])
                g += weight * np.int32(line[at + 1])
                b += weight * np.int32(line[at + 2])
                at += 4
            target[y, x, 0] = min(max(r >> _FINAL_SHIFT, 0), 255)
            target[y, x, 1] = min(max(g >> _FINAL_SHIFT, 0), 255)
            target[y, x, 2] = min(max(b >> _FINAL_SHIFT, 0), 255)
            target[y, x, 3] = 255
