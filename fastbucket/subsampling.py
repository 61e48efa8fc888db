"""Chroma policies: which chroma subsampling a sample is encoded with.

| policy         | 4:4:4 when        | else  |
|----------------|-------------------|-------|
| adaptive_scale | scale < threshold | 4:2:0 |
| 444, 422, 420  | as it says        |       |

After a real downscale even a 4:2:0 source carries nearly full chroma resolution at the target,
and 4:4:4 keeps it; near scale 1 it does not (format.md, section 5).
"""

from __future__ import annotations

from collections.abc import Callable

SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


def adaptive_scale(scale: float, threshold: float) -> str:
    """4:4:4 below the threshold of the scale, 4:2:0 from it on."""
    return "4:4:4" if scale < threshold else "4:2:0"


def always_444(scale: float, threshold: float) -> str:
    """4:4:4, whatever the scale."""
    return "4:4:4"


def always_422(scale: float, threshold: float) -> str:
    """4:2:2, whatever the scale."""
    return "4:2:2"


def always_420(scale: float, threshold: float) -> str:
    """4:2:0, whatever the scale."""
    return "4:2:0"


POLICIES: dict[str, Callable[[float, float], str]] = {
    "adaptive_scale": adaptive_scale,
    "444": always_444,
    "422": always_422,
    "420": always_420,
}
