"""The floor: libjpeg-turbo's decode and encode, nothing between.

No design that leaves both to libjpeg-turbo can be faster; ours recodes progressive JPEGs before it
decodes them. The finished target that is encoded was made outside of the time: the crop of an
unresized image would be smoother, and cheaper to encode. The targets of a turn are made before its
first image, so they lie in no core's own cache; the sources may, as our whole way was gone with
them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ..corpus import Plan
from . import ours

NAME = "floor: decode + encode alone"
DISTRIBUTIONS = ("simplejpeg",)
available = ours.available

_prepared: dict[str, Any] = {}
_done: list[Any] = []
"""Targets that were encoded; to let go of one is not part of the time."""


def prepare(data: bytes, plan: Plan) -> None:
    """Make the target, for one transcode."""
    _done.clear()
    _prepared[plan.name] = ours.target(data, plan)


def transcode(data: bytes, plan: Plan) -> bytes:
    decode(data, plan)
    import simplejpeg

    _done.append(_prepared.pop(plan.name))
    chroma = plan.subsampling.replace(":", "")
    return bytes(simplejpeg.encode_jpeg(_done[-1], plan.quality, "RGBX", chroma))


def decode(data: bytes, plan: Plan) -> Any:
    """RGBX uint8 into a buffer that is used again."""
    import simplejpeg

    shrink = plan.shrink
    width, height = (-(-side // shrink) if shrink > 1 else 0 for side in plan.source)
    return simplejpeg.decode_jpeg(
        data,
        "RGBX",
        min_width=width,
        min_height=height,
        min_factor=shrink,
        buffer=_buffer(),
        strict=True,
    )


@lru_cache(1)
def _buffer() -> Any:
    import numpy as np

    return np.empty(4 * 64_000_000, np.uint8)  # the largest photo has 15 MP; pages come when used
