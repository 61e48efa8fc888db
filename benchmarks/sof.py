"""Size and chroma of a JPEG from its frame header, to check what contenders made.

Standard library alone.
"""

from __future__ import annotations

from typing import NamedTuple

_SUBSAMPLINGS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15; the three are DHT, JPG and DAC."""


class Frame(NamedTuple):
    """size: (width, height); subsampling as in "4:2:0", "" for grey and unusual ones."""

    size: tuple[int, int]
    subsampling: str


def frame(jpeg: bytes) -> Frame:
    """The frame header of a JPEG. Raises ValueError where there is none."""
    at = 2
    while at + 9 < len(jpeg) and jpeg[at] == 0xFF:
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if marker in _FRAMES:
            height = int.from_bytes(jpeg[at + 5 : at + 7], "big")
            width = int.from_bytes(jpeg[at + 7 : at + 9], "big")
            factors = [divmod(jpeg[at + 11 + 3 * i], 16) for i in range(jpeg[at + 9])]
            return Frame((width, height), _subsampling(factors))
        at += 2 + length
    raise ValueError("no frame header: not a JPEG, or one with bytes between its segments")


def _subsampling(factors: list[tuple[int, int]]) -> str:
    if len(factors) != 3 or factors[1:] != [(1, 1), (1, 1)]:
        return ""
    return _SUBSAMPLINGS.get(factors[0], "")
