"""Cover-resize and crop of decoded pixels: weights, and one call of the kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .buffers import aligned
from .geometry import Size
from .kernels import resample, taps

_CACHED = 256
"""Axes whose weights are kept. 6 KB each at a factor of 1; 130 KB at 16, without shrink-on-load."""


@lru_cache(maxsize=_CACHED)
def weights(
    axis: Callable[..., tuple[Any, ...]], scale: float, pixels: int, first: int, count: int
) -> tuple[Any, ...]:
    """`taps.rows` or `taps.columns` with these arguments, which are described there."""
    return axis(scale, pixels, first, count)


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
        scale = float(span[0]) / resized.width, float(span[1]) / resized.height
        rows = weights(taps.rows, scale[1], height, corner[1], target.height)
        columns = weights(taps.columns, scale[0], width, corner[0], target.width)
        left, read, column_first, column_weights = columns
        # Rows are read from pixel `left` on, in whole strips: of the last ones these would reach
        # past the end of the array.
        reach = -(-8 * read // resample.STRIP) * resample.STRIP
        within = (4 * width * height - 4 * left - reach) // (4 * width) + 1
        edge_rows = height - min(max(within, 0), height)
        line, edge = 8 * reach, edge_rows * reach
        if self._scratch.size < line + edge:
            self._scratch = aligned(line + edge)
        out, window = self._windows.get(target) or self._window(target)
        resample.resample(
            pixels,
            *rows,
            left,
            column_first,
            column_weights,
            self._scratch[:line].view(np.int16).reshape(-1, 4, 8),
            self._scratch[line : line + edge].reshape(edge_rows, reach),
            out,
        )
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
