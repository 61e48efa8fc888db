"""Sizes, scales and orientation in exact integers (format.md, section 4 and 5)."""

from __future__ import annotations

from typing import NamedTuple


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


class Cover(NamedTuple):
    """How a source covers a target: `scale` <= 1 shrinks; `resized` is at least the target."""

    scale: float
    resized: Size


def oriented(size: Size, orientation: int) -> Size:
    """The size after EXIF orientation (1 to 8); 5 to 8 swap the sides."""
    return Size(size.height, size.width) if orientation >= 5 else size


def cover(source: Size, target: Size) -> Cover:
    """Scale and resized size of `source` when it just covers `target`.

    scale = max(W/w, H/h). Each resized side is max(target, floor(side x scale + 1/2)), computed
    in integers: no rounding of the scale can move a pixel.
    """
    w, h = source
    width, height = target
    if width * h >= height * w:  # W/w >= H/h: the width decides
        return Cover(width / w, Size(width, max(height, (2 * h * width + w) // (2 * w))))
    return Cover(height / h, Size(max(width, (2 * w * height + h) // (2 * h)), height))


def round_half_up(numerator: int, denominator: int) -> int:
    """numerator / denominator rounded to the nearest integer, halves up (both positive)."""
    return (2 * numerator + denominator) // (2 * denominator)
