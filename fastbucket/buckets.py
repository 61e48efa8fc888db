"""Aspect-ratio buckets: families of sizes, and the rules that choose among them.

A family is a list of proto sizes at base 1024; a bucket is a proto scaled to the base
resolution of the export. A choice rule is a plain function of integers that returns a distance
as an exact fraction; `kernels.fit` compiles the same function for whole columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .geometry import Size, round_half_up

PROTO_BASE = 1024
"""Base resolution, in pixels, of the proto sizes."""

# The rows of the SDXL paper's table (which lists height x width), sorted by (width, height).
SDXL = (
    (512, 1856), (512, 1920), (512, 1984), (512, 2048), (576, 1664), (576, 1728), (576, 1792),
    (640, 1536), (640, 1600), (704, 1408), (704, 1472), (768, 1280), (768, 1344), (832, 1152),
    (832, 1216), (896, 1088), (896, 1152), (960, 1024), (960, 1088), (1024, 960), (1024, 1024),
    (1088, 896), (1088, 960), (1152, 832), (1152, 896), (1216, 832), (1280, 768), (1344, 704),
    (1344, 768), (1408, 704), (1472, 704), (1536, 640), (1600, 640), (1664, 576), (1728, 576),
    (1792, 576), (1856, 512), (1920, 512), (1984, 512), (2048, 512),
)  # fmt: skip

FAMILIES: dict[str, tuple[tuple[int, int], ...]] = {
    "sdxl": SDXL,
}


class Bucket(NamedTuple):
    """One bucket: its proto at base 1024 and its target at the base of the export, in pixels.
    base: that of the target in an export of several bases, else 0."""

    proto: Size
    target: Size
    base: int = 0

    @property
    def id(self) -> str:
        """p1152x832, or 512-p1152x832 in an export of several bases; it names the folder."""
        name = f"p{self.proto.width}x{self.proto.height}"
        return f"{self.base}-{name}" if self.base else name


def buckets(family: str, base: int, divisible: int) -> tuple[Bucket, ...]:
    """The buckets of a family at `base`, in list order.

    Each side of a target is the proto's x base/1024, rounded to the nearest multiple of
    `divisible` (halves up). Of two protos that land on one target the first keeps it.
    """
    found: dict[Size, Bucket] = {}
    for proto in FAMILIES[family]:
        target = _target(Size(*proto), base, divisible)
        found.setdefault(target, Bucket(Size(*proto), target))
    return tuple(found.values())


def _target(proto: Size, base: int, divisible: int) -> Size:
    width, height = (
        max(1, round_half_up(side * base, PROTO_BASE * divisible)) * divisible for side in proto
    )
    return Size(width, height)


def ladder(family: str, bases: Sequence[int], divisible: int) -> tuple[tuple[Bucket, ...], ...]:
    """The buckets at every base of an export, bases ascending as they are given.

    All bases have the buckets of the largest one, in its order: there bucket i is the same proto
    everywhere, also where two protos share a target at a smaller base. A target grows with the
    base, so who fits one of them fits it at every smaller base too.
    """
    largest = buckets(family, bases[-1], divisible)
    if len(bases) == 1:
        return (largest,)
    return tuple(
        tuple(Bucket(b.proto, _target(b.proto, base, divisible), base) for b in largest)
        for base in bases
    )


def short_long(w: int, h: int, width: int, height: int) -> tuple[int, int]:
    """|min/max of the source - min/max of the target|: 640x480 is a true tie, kept as one."""
    short, long = min(w, h), max(w, h)
    target_short, target_long = min(width, height), max(width, height)
    return abs(short * target_long - target_short * long), long * target_long


def log_ratio(w: int, h: int, width: int, height: int) -> tuple[int, int]:
    """exp |ln(w/h) - ln(W/H)|: orders as the logarithm does, and stays a fraction."""
    a, b = w * height, h * width
    return max(a, b), min(a, b)


def min_crop(w: int, h: int, width: int, height: int) -> tuple[int, int]:
    """Source pixels (an area) that the cover-scaled target does not show."""
    if width * h >= height * w:
        return w * (h * width - w * height), width
    return h * (w * height - h * width), height


CHOICES: dict[str, Callable[[int, int, int, int], tuple[int, int]]] = {
    "short_long": short_long,
    "log_ratio": log_ratio,
    "min_crop": min_crop,
}
"""Rule name -> distance(w, h, W, H) as (numerator, denominator). The smallest wins, a tie goes
to the first in list order, and only buckets of the image's orientation take part."""
