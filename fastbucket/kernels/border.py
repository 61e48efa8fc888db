"""The plain borders of an image: bars, frames, passe-partouts.

Followed from the rim inwards, every eighth row: of an image without any hardly a row is read.

look compiles these functions into its own kernel, and numba's cache looks at the text of one file
only: after a change here, remove __pycache__.
"""

from __future__ import annotations

import numba
import numpy as np

SAME = 20
"""Levels, in each channel, within which a pixel is still of the border's colour."""

SHARP = 3
"""Pixels within which a border ends: a scaled picture's edge is as wide."""

ROWS = 8
"""Every ROWS-th row is looked at."""

PROBES = 16
"""Pixels of a row, and rows of all columns, that are asked first: nearly always the end of it."""

THOUSAND = 1000


@numba.njit(boundscheck=False, nogil=True)
def _differs(pixel, colour):
    """Whether a pixel is further than SAME from a colour in any channel."""
    red = abs(np.int32(pixel & np.uint32(255)) - np.int32(colour & np.uint32(255)))
    green = abs(
        np.int32((pixel >> np.uint32(8)) & np.uint32(255))
        - np.int32((colour >> np.uint32(8)) & np.uint32(255))
    )
    blue = abs(
        np.int32((pixel >> np.uint32(16)) & np.uint32(255))
        - np.int32((colour >> np.uint32(16)) & np.uint32(255))
    )
    return max(max(red, green), blue) > SAME


@numba.njit(boundscheck=False, nogil=True)
def _plain_rows(pixels, first, step):
    """Rows from `first` on that are of the colour with which the first begins; every ROWS-th one
    is looked at."""
    height, width = pixels.shape
    colour = pixels[first, 0]
    for n in range(0, height, ROWS):
        row = pixels[first + n * step]
        for x in range(min(width, PROBES)):
            if _differs(row[x], colour):
                return n
        off = np.int32(0)
        for x in range(width):
            off += np.int32(_differs(row[x], colour))
        if off:
            return n
    return height


@numba.njit(boundscheck=False, nogil=True)
def _plain_columns(pixels, top, bottom, first, step):
    """Columns from `first` on that are of one colour from row `top` to `bottom`."""
    n, colour = pixels.shape[1], pixels[top, first]
    for y in range(top, bottom, max((bottom - top) // PROBES, 1)):
        x = 0
        while x < n and not _differs(pixels[y, first + x * step], colour):
            x += 1
        n = x
        if n == 0:
            return 0
    off = np.zeros(n, np.int32)
    at = min(first, first + (n - 1) * step)
    for y in range(top, bottom, ROWS):
        row = pixels[y]
        for x in range(n):
            off[x] += np.int32(_differs(row[at + x], colour))
    plain = 0
    while plain < n and off[plain if step > 0 else n - 1 - plain] == 0:
        plain += 1
    return plain


@numba.njit(boundscheck=False, nogil=True)
def _ends_sharp(pixels, top, bottom, left, right, colour):
    """Whether half of this line of pixels, or more, are of another colour than the border."""
    other, count = 0, 0
    for y in range(top, bottom):
        for x in range(left, right):
            count += 1
            other += _differs(pixels[y, x], colour)
    return count > 0 and 2 * other >= count


@numba.njit(boundscheck=False, nogil=True)
def border_share(pixels):
    """Thousandths of the area that plain borders take, which end in a straight line.

    What stands free on a plain ground has no border: where the ground ends, most is still ground.
    An image that is plain all over has none either.
    """
    height, width = pixels.shape
    top = _plain_rows(pixels, 0, 1)
    if top == height:
        return 0
    bottom = _plain_rows(pixels, height - 1, -1)
    left = _plain_columns(pixels, top, height - bottom, 0, 1)
    right = _plain_columns(pixels, top, height - bottom, width - 1, -1)
    if left + right >= width or top + bottom >= height:
        return 0
    inner_top, inner_bottom, inner_left, inner_right = top, height - bottom, left, width - right
    at = min(top + SHARP, inner_bottom) - 1
    if top and not _ends_sharp(pixels, at, at + 1, inner_left, inner_right, pixels[0, 0]):
        top = 0
    at = max(height - bottom - SHARP, inner_top)
    if bottom and not _ends_sharp(
        pixels, at, at + 1, inner_left, inner_right, pixels[height - 1, 0]
    ):
        bottom = 0
    at = min(left + SHARP, inner_right) - 1
    if left and not _ends_sharp(pixels, inner_top, inner_bottom, at, at + 1, pixels[inner_top, 0]):
        left = 0
    at = max(width - right - SHARP, inner_left)
    if right and not _ends_sharp(
        pixels, inner_top, inner_bottom, at, at + 1, pixels[inner_top, width - 1]
    ):
        right = 0
    inner = (height - top - bottom) * (width - left - right)
    return THOUSAND * (height * width - inner) // (height * width)
