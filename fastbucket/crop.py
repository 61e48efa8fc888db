"""Crop strategies: where the target's window lies in the resized image.

A strategy gets the room on each axis (resized - target, in pixels), the sample's key (64 hex
digits), and the strategy's parameters; it returns the left and top edge of the window.
Everything it does follows from the key, so a crop can be repeated from the JSON alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .geometry import Size

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
"""The numbers 0 to 3 of `allowed_corners`."""


def chosen_corner(key: str, allowed_corners: Sequence[int]) -> int:
    """The corner of a sample: the first 64 bits of its key modulo the allowed corners."""
    return allowed_corners[int(key[:16], 16) % len(allowed_corners)]


def corner(room: Size, key: str, allowed_corners: Sequence[int], jitter: int) -> tuple[int, int]:
    """A corner chosen by the key."""
    number = chosen_corner(key, allowed_corners)
    return (room.width if number & 1 else 0), (room.height if number & 2 else 0)


def corner_jitter(
    room: Size, key: str, allowed_corners: Sequence[int], jitter: int
) -> tuple[int, int]:
    """A corner moved inwards by 0 to `jitter` pixels an axis, by key[16:24] and key[24:32]."""
    number = chosen_corner(key, allowed_corners)
    x = min(int(key[16:24], 16) % (jitter + 1), room.width)
    y = min(int(key[24:32], 16) % (jitter + 1), room.height)
    return (room.width - x if number & 1 else x), (room.height - y if number & 2 else y)


def center(room: Size, key: str, allowed_corners: Sequence[int], jitter: int) -> tuple[int, int]:
    """The middle; an odd pixel is cut at the right or the bottom."""
    return room.width // 2, room.height // 2


CROPS: dict[str, Callable[[Size, str, Sequence[int], int], tuple[int, int]]] = {
    "corner": corner,
    "corner_jitter": corner_jitter,
    "center": center,
}
