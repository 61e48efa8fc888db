"""How much chroma detail 4:2:0 would lose: the energy that averaging 2x2 pixels takes away."""

from __future__ import annotations

import numba
import numpy as np

# JFIF (ITU-T T.871) in 1/65536: Cb = -0.168736 R - 0.331264 G + 0.5 B, Cr = 0.5 R - 0.418688 G
# - 0.081312 B. The offset of 128 and the scale of both drop out of a variance.
_CB_R, _CB_G, _CB_B = -11058, -21710, 32768
_CR_R, _CR_G, _CR_B = 32768, -27439, -5329
_UNIT_BITS = 16
_KEPT_BITS = 3
_SHIFT = _UNIT_BITS - _KEPT_BITS


@numba.njit("int64(uint8[:, :, ::1])", cache=True, nogil=True, boundscheck=False)
def lost_energy(rgbx):
    """Sum over all 2x2 blocks of 4 x (squared deviations of Cb and Cr from the block's mean).

    rgbx: uint8 (h, w, 4); an odd last row or column is left out. In units of (level / 8)^2: exact
    integers, so the same on every CPU. 4 sum(x^2) - sum(x)^2 of four values is four times their
    squared deviation.
    """
    height, width = rgbx.shape[0] // 2 * 2, rgbx.shape[1] // 2 * 2
    total = np.int64(0)
    for y in range(0, height, 2):
        line = np.int64(0)
        for x in range(0, width, 2):
            sum_b, sum_r, squares = np.int32(0), np.int32(0), np.int32(0)
            for dy in range(2):
                for dx in range(2):
                    r = np.int32(rgbx[y + dy, x + dx, 0])
                    g = np.int32(rgbx[y + dy, x + dx, 1])
                    b = np.int32(rgbx[y + dy, x + dx, 2])
                    cb = (_CB_R * r + _CB_G * g + _CB_B * b) >> _SHIFT
                    cr = (_CR_R * r + _CR_G * g + _CR_B * b) >> _SHIFT
                    sum_b += cb
                    sum_r += cr
                    squares += cb * cb + cr * cr
            line += 4 * squares - sum_b * sum_b - sum_r * sum_r
        total += line
    return total


def chroma_loss(rgbx: np.ndarray) -> float:
    """Root mean square of what 2x2 averaging takes from Cb and Cr, in levels of 255.

    rgbx: uint8 (h, w, 4), contiguous. 0 for a grey image; 2 is visible on fine red and blue detail.
    """
    height, width = rgbx.shape[0] // 2 * 2, rgbx.shape[1] // 2 * 2
    if not height or not width:
        return 0.0
    energy = int(lost_energy(rgbx))
    mean = energy / 4 / (1 << 2 * _KEPT_BITS) / (2 * height * width)
    return float(mean**0.5)
