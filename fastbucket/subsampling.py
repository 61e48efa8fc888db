"""Chroma policies: which chroma subsampling a sample is encoded with.

| policy           | 4:4:4                     | 4:2:2           | 4:2:0                     |
|------------------|---------------------------|-----------------|---------------------------|
| adaptive_scale   | scale < threshold         |                 | else                      |
| adaptive_source  | source chroma is fine     | coarse in x     | coarse in x and y, grey   |
| adaptive_content | 2x2 averaging would take  |                 | else                      |
|                  | more than the threshold   |                 |                           |
| 444, 422, 420    | as it says                | as it says      | as it says                |

After a real downscale even a 4:2:0 source carries nearly full chroma resolution at the target, and
4:4:4 keeps it; near scale 1 it does not (format.md, section 5). docs/performance.md has the bytes
that each policy saves and the quality that it costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


class Chroma(NamedTuple):
    """What a policy may look at.

    scale: target / source. scale_threshold: recipe.adaptive_scale_threshold. spacing: luma samples
    for one chroma sample of the upright source, in x and y; (1, 1) full, (0, 0) grey. loss: root
    mean square of what 2x2 averaging takes from the target's chroma, in levels of 255, computed
    when it is called. loss_threshold: recipe.adaptive_content_threshold, in the same unit.
    """

    scale: float
    scale_threshold: float
    spacing: tuple[int, int]
    loss: Callable[[], float]
    loss_threshold: float


def adaptive_scale(chroma: Chroma) -> str:
    """4:4:4 below the threshold of the scale, 4:2:0 from it on, whatever the source has."""
    return "4:4:4" if chroma.scale < chroma.scale_threshold else "4:2:0"


def adaptive_source(chroma: Chroma) -> str:
    """What chroma resolution the source has after the scale.

    The source's chroma samples are spacing x scale target pixels apart; 4:2:0 has them 2 apart. An
    axis is coarse where that is at least 2 x threshold, so a 4:2:0 source is decided as
    adaptive_scale does it, and a 4:4:4 source keeps 4:4:4 at any scale.
    """
    if chroma.spacing == (0, 0):
        return "4:2:0"  # grey: there is no chroma to keep
    limit = 2 * chroma.scale_threshold
    coarse_x, coarse_y = (space * chroma.scale >= limit for space in chroma.spacing)
    if coarse_x:
        return "4:2:0" if coarse_y else "4:2:2"
    return "4:4:4"


def adaptive_content(chroma: Chroma) -> str:
    """4:2:0 where it would lose less than the threshold of this very image's chroma."""
    return "4:2:0" if chroma.loss() < chroma.loss_threshold else "4:4:4"


def always_444(chroma: Chroma) -> str:
    """4:4:4, whatever the image."""
    return "4:4:4"


def always_422(chroma: Chroma) -> str:
    """4:2:2, whatever the image."""
    return "4:2:2"


def always_420(chroma: Chroma) -> str:
    """4:2:0, whatever the image."""
    return "4:2:0"


POLICIES: dict[str, Callable[[Chroma], str]] = {
    "adaptive_scale": adaptive_scale,
    "adaptive_source": adaptive_source,
    "adaptive_content": adaptive_content,
    "444": always_444,
    "422": always_422,
    "420": always_420,
}
