"""Aspect-ratio buckets: families of sizes, and the rules that choose among them.

A family is a list of sizes at a base resolution of its own. A proto is a size at base 1024, and
names the bucket; the target is the proto scaled to a base resolution of the export. A choice rule
is a plain function of integers that returns a distance as an exact fraction; `kernels.fit`
compiles the same function for whole columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isqrt
from typing import NamedTuple

from .errors import RunError
from .geometry import Size, round_half_up

PROTO_BASE = 1024
"""Base resolution, in pixels, of the proto sizes."""

MOST = 1024
"""Buckets of a family: every sample is held against all of them."""

SPREAD = 16
"""Longest side of a family by its shortest. The choice rules multiply (side of a source x side of
a target) by the same of another: below this, what fits and has 178 million pixels stays within 64
bits."""

# The rows of the SDXL paper's table (which lists height x width), sorted by (width, height).
SDXL = (
    (512, 1856), (512, 1920), (512, 1984), (512, 2048), (576, 1664), (576, 1728), (576, 1792),
    (640, 1536), (640, 1600), (704, 1408), (704, 1472), (768, 1280), (768, 1344), (832, 1152),
    (832, 1216), (896, 1088), (896, 1152), (960, 1024), (960, 1088), (1024, 960), (1024, 1024),
    (1088, 896), (1088, 960), (1152, 832), (1152, 896), (1216, 832), (1280, 768), (1344, 704),
    (1344, 768), (1408, 704), (1472, 704), (1536, 640), (1600, 640), (1664, 576), (1728, 576),
    (1792, 576), (1856, 512), (1920, 512), (1984, 512), (2048, 512),
)  # fmt: skip

# NovelAI's aspect-ratio bucketing for Stable Diffusion 1 (github.com/NovelAI/novelai-aspect-ratio-
# bucketing, README of 2022): for every width from 256 to 1024 in steps of 64 the largest height up
# to 1024 with width x height <= 512 x 768, the same mirrored, and 512 x 512. At base 512.
SD15 = (
    (256, 1024), (320, 1024), (384, 896), (384, 960), (384, 1024), (448, 832), (512, 512),
    (512, 704), (512, 768), (576, 640), (640, 576), (704, 512), (768, 512), (832, 448), (896, 384),
    (960, 384), (1024, 256), (1024, 320), (1024, 384),
)  # fmt: skip


class Shape(NamedTuple):
    """What shapes the families that have no table: fields of the recipe, sides in pixels.

    base: at which `list` and `grid` are given. sizes: of `list`. step and sides: of `grid`; a side
    of 0 is half the base, or twice it.
    """

    base: int = PROTO_BASE
    divisible: int = 32
    sizes: tuple[str, ...] = ()
    step: int = 64
    min_side: int = 0
    max_side: int = 0


class Sizes(NamedTuple):
    """A family: its sizes in list order, in pixels at its base."""

    base: int
    sizes: tuple[tuple[int, int], ...]


def grid(shape: Shape) -> Sizes:
    """For every width in steps from the least to the greatest side the largest height with width x
    height <= base squared, the same mirrored, and the square; sorted by (width, height).

    As kohya-ss/sd-scripts makes its buckets (model_util.make_bucket_resolutions); NovelAI's grid
    is of the same kind, with an area of its own. Raises RunError where no size comes out.
    """
    step, area = shape.step, shape.base**2
    least = -(-(shape.min_side or shape.base // 2) // step) * step
    most = (shape.max_side or 2 * shape.base) // step * step
    if step % shape.divisible:
        raise RunError(f"grid_step: {step} is no multiple of divisible, {shape.divisible}")
    square = shape.base // step * step
    found = {(square, square)} if least <= square <= most else set()
    for width in range(least, most + 1, step):
        height = min(most, area // width // step * step)
        if height >= least:
            found |= {(width, height), (height, width)}
    if not found:
        raise RunError(
            f"family grid: no size of sides {least} to {most} in steps of {step} has at most "
            f"{shape.base}x{shape.base} pixels"
        )
    return Sizes(shape.base, tuple(sorted(found)))


def listed(shape: Shape) -> Sizes:
    """The sizes of the recipe, in its order. Raises RunError for what is none, or comes twice."""
    if not shape.sizes:
        raise RunError("family list: --sizes is to list its sizes: 640x384,384x640")
    found: dict[tuple[int, int], None] = {}
    for text in shape.sizes:
        sides = text.split("x")
        if len(sides) != 2 or not all(side.isascii() and side.isdecimal() for side in sides):
            raise RunError(f"sizes: {text!r} is no WIDTHxHEIGHT")
        width, height = int(sides[0]), int(sides[1])
        if not width or not height or width % shape.divisible or height % shape.divisible:
            raise RunError(
                f"sizes: the sides of {text} are no multiples of divisible, {shape.divisible}"
            )
        if width * height > 2 * shape.base**2:  # it bounds what decoding may cost, and is the label
            raise RunError(
                f"sizes: {text} is more than twice the square of base_resolution, {shape.base}; "
                f"sizes are at that base: --base-resolution {isqrt(width * height - 1) + 1}"
            )
        if (width, height) in found:
            raise RunError(f"sizes: {text} is listed twice")
        found[width, height] = None
    return Sizes(shape.base, tuple(found))


FAMILIES: dict[str, Callable[[Shape], Sizes]] = {
    "sdxl": lambda _: Sizes(PROTO_BASE, SDXL),
    "sd15": lambda _: Sizes(512, SD15),
    "grid": grid,
    "list": listed,
    "square": lambda _: Sizes(PROTO_BASE, ((PROTO_BASE, PROTO_BASE),)),
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


def protos(family: str, shape: Shape) -> tuple[Size, ...]:
    """The sizes of a family at base 1024, in list order, each side rounded (halves up).

    Raises RunError where the shape gives no family, or one beyond the limits.
    """
    base, sizes = FAMILIES[family](shape)
    sides = [side for size in sizes for side in size]
    if len(sizes) > MOST:
        raise RunError(f"family {family}: {len(sizes)} buckets, at most {MOST} are allowed")
    if max(sides) > SPREAD * min(sides):
        raise RunError(
            f"family {family}: sides from {min(sides)} to {max(sides)}; the longest may be "
            f"{SPREAD} times the shortest"
        )
    found = tuple(
        Size(round_half_up(w * PROTO_BASE, base), round_half_up(h * PROTO_BASE, base))
        for w, h in sizes
    )
    if family in ("grid", "list"):
        back = tuple(bucket.target for bucket in scaled(found, base, shape.divisible))
        if back != sizes:  # beyond base 1024 x divisible two sizes may be one proto
            raise RunError(
                f"family {family}: base_resolution {base} is too large for divisible "
                f"{shape.divisible}: sizes would not come out as they are given"
            )
    return found


def scaled(protos: Iterable[Size], base: int, divisible: int) -> tuple[Bucket, ...]:
    """The buckets of protos at `base`, in list order.

    Each side of a target is the proto's x base/1024, rounded to the nearest multiple of
    `divisible` (halves up). Of two protos that land on one target the first keeps it.
    """
    found: dict[Size, Bucket] = {}
    for proto in protos:
        target = _target(proto, base, divisible)
        found.setdefault(target, Bucket(proto, target))
    return tuple(found.values())


def _target(proto: Size, base: int, divisible: int) -> Size:
    width, height = (
        max(1, round_half_up(side * base, PROTO_BASE * divisible)) * divisible for side in proto
    )
    return Size(width, height)


def ladder(
    protos: Iterable[Size], bases: Sequence[int], divisible: int
) -> tuple[tuple[Bucket, ...], ...]:
    """The buckets of protos at every base of an export, bases ascending as they are given.

    All bases have the buckets of the largest one, in its order: there bucket i is the same proto
    everywhere, also where two protos share a target at a smaller base. A target grows with the
    base, so who fits one of them fits it at every smaller base too.
    """
    largest = scaled(protos, bases[-1], divisible)
    if len(bases) == 1:
        return (largest,)
    return tuple(
        tuple(Bucket(b.proto, _target(b.proto, base, divisible), base) for b in largest)
        for base in bases
    )


def buckets(family: str, base: int, divisible: int) -> tuple[Bucket, ...]:
    """The buckets of a family that the recipe shapes no further, at `base`, in list order."""
    return scaled(protos(family, Shape(base, divisible)), base, divisible)


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
