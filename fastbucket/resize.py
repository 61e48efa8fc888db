"""Cover-resize and crop of decoded pixels: weights, and one call of the kernel.

Tried for the caches' sake, as shares of a sample as in ImageNet: the target over rows of the source
that have been read, a megabyte less to go through, 0.997; the weights before the decode, 1.00.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .buffers import aligned
from .geometry import Size
from .kernels import resample, taps

_CACHED = 256
"""Windows whose weights are kept. 12 KB each at a factor of 1; 260 KB at 16, without
shrink-on-load. A size has a window for each of its crops: two where a corner is chosen."""

weights = lru_cache(maxsize=_CACHED)(taps.window)
"""`taps.window`, once a (size, size, crop)."""


class Resizer:
    """Resizes into a reused target buffer; what it returns is valid until the next call."""

    def __init__(self) -> None:
        self._target = self._scratch = np.empty(0, np.uint8)
        self._windows: dict[Size, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(
        self,
        pixels: np.ndarray,
        span: tuple[float, float],
        resized: Size,
        corner: tuple[int, int],
        target: Size,
    ) -> np.ndarray:
        """RGBX uint8 (h, w, 4) -> RGBX uint8 (H, W, 4), both contiguous.

        span: (width, height) of the source in units of decoded pixels, a fraction after
        shrink-on-load; w and h are its ceilings. corner: left and top edge of the target's window
        in the resized image.
        """
        height, width, channels = pixels.shape
        if channels != 4:
            raise ValueError(f"{channels} channels instead of RGBX")
        made = weights(
            float(span[1]) / resized.height,
            height,
            corner[1],
            target.height,
            float(span[0]) / resized.width,
            width,
            corner[0],
            target.width,
        )
        line, past = resample.room(width, height, *made[3:5])
        needed = (8 * resample.LINES + past) * line
        if self._scratch.size < needed:
            self._scratch = aligned(needed)
        out, window = self._windows.get(target) or self._window(target)
        resample.resample(pixels, *made, self._scratch, out)
        return window if window.flags.c_contiguous else np.ascontiguousarray(window)

    def _window(self, target: Size) -> tuple[np.ndarray, np.ndarray]:
        """The target with its sides rounded up to fours, and of it what is wanted. The same objects
        for all samples of a bucket: who takes them may keep what he made of them."""
        height, width = -(-target.height // 4) * 4, -(-target.width // 4) * 4
        if self._target.size < 4 * width * height:
            self._target = aligned(4 * width * height)
            self._windows.clear()
        out = self._target[: 4 * width * height].reshape(height, width, 4)
        views = out, out[: target.height, : target.width]
        if len(self._windows) < _CACHED:
            self._windows[target] = views
        return views
