"""Cover-resize and crop of decoded pixels: weights, and one call of the kernel."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np

from .geometry import Size
from .kernels import resample

BICUBIC_A = -0.5
"""Catmull-Rom, the `a` of Pillow's BICUBIC and of torch's antialiased bicubic."""


def _bicubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel, support 2. x: float64, distance in filter units."""
    a, x = BICUBIC_A, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


@lru_cache(maxsize=512)
def weights(
    span: Fraction, pixels: int, resized: int, first: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Taps of one axis: resize `span` source pixels to `resized`, keep `count` from `first` on.

    span: extent of the source in pixels of the decoded image, a fraction after shrink-on-load;
    pixels: those that exist, ceil(span).
    Returns the first tap of every output pixel, int32 (count,), and the weights in units of 2^-14,
    int16 (count, taps), each row summing to exactly 2^14. The filter widens with the shrink
    (antialias) and is cut and normalised anew at the borders, as Pillow and torch do it.
    """
    scale = float(span) / resized
    widened = max(scale, 1.0)
    center = (np.arange(first, first + count) + 0.5) * scale
    low = np.maximum((center - 2 * widened + 0.5).astype(np.int64), 0)
    high = np.minimum((center + 2 * widened + 0.5).astype(np.int64), pixels)
    taps = int((high - low).max())
    at = low[:, None] + np.arange(taps)
    value = _bicubic((at + 0.5 - center[:, None]) / widened)
    value[at >= high[:, None]] = 0.0
    value /= value.sum(axis=1, keepdims=True)
    unit = 1 << resample.WEIGHT_BITS
    whole = np.rint(value * unit).astype(np.int64)
    # What rounding lost goes to the largest weight: a flat area keeps its value exactly.
    whole[np.arange(count), whole.argmax(axis=1)] += unit - whole.sum(axis=1)
    return low.astype(np.int32), np.ascontiguousarray(whole.astype(np.int16))


class Resizer:
    """Resizes into a reused target buffer; what it returns is valid until the next call."""

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)

    def __call__(
        self,
        pixels: np.ndarray,
        span: tuple[Fraction, Fraction],
        resized: Size,
        corner: tuple[int, int],
        target: Size,
    ) -> np.ndarray:
        """RGBX uint8 (h, w, 4) -> RGBX uint8 (H, W, 4).

        span: (width, height) of the source in units of decoded pixels, see `weights`.
        corner: left and top edge of the target's window in the resized image.
        """
        height, width = pixels.shape[:2]
        if self._buffer.size < target.width * target.height * 4:
            self._buffer = np.empty(target.width * target.height * 4, np.uint8)
        out = self._buffer[: target.width * target.height * 4]
        out = out.reshape(target.height, target.width, 4)
        rows = weights(span[1], height, resized.height, corner[1], target.height)
        columns = weights(span[0], width, resized.width, corner[0], target.width)
        resample.resample(pixels, *rows, *columns, out)
        return out
