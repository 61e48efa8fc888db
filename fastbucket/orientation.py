"""EXIF orientation, applied to the small image instead of the large one.

Resizing commutes with flips and transposition, so the decoder's pixels are resized as stored, with
the target, the resized size and the crop window turned back, and only the result is turned.
"""

from __future__ import annotations

import numpy as np

from .geometry import Size, oriented

# Orientation -> (transposed, flipped left-right, flipped top-bottom): what the stored image needs
# to be upright, the transposition first (EXIF 2.32, tag 0x0112).
_TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def stored_window(
    corner: tuple[int, int], resized: Size, target: Size, orientation: int
) -> tuple[tuple[int, int], Size, Size]:
    """Crop corner, resized size and target of the upright image as the stored one has them."""
    if orientation == 1:
        return corner, resized, target
    transposed, flip_x, flip_y = _TURNS[orientation]
    x = resized.width - target.width - corner[0] if flip_x else corner[0]
    y = resized.height - target.height - corner[1] if flip_y else corner[1]
    at = (y, x) if transposed else (x, y)
    return at, oriented(resized, orientation), oriented(target, orientation)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (h, w, 4) as stored -> upright; no copy where nothing turns."""
    if orientation == 1:
        return pixels
    transposed, flip_x, flip_y = _TURNS[orientation]
    if transposed:
        pixels = pixels.transpose(1, 0, 2)
    turned = pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    return np.ascontiguousarray(turned)
