"""A small source whose export has gaps to fill: for tests that end exports in many places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import exported

from fastbucket.draw import draw
from fastbucket.drawn_source import photo_jpeg

RECIPE = {"base_resolution": 128, "shard_size": 2}


def tars(folder: Callable[[], Path], parts: int = 2) -> list[str]:
    """Tars, each in a folder of its own. Of the squares, four shards, some are damaged, so that
    fill moves samples and removes a shard; of the tall nothing is left; the wide are whole."""
    sizes = {"s": (160, 160), "t": (160, 256), "w": (256, 160)}
    order, damaged = "sswtswstssws", {0, 3, 7, 8}
    paths = []
    for part in range(parts):
        members = []
        for number, kind in enumerate(order):
            if number % parts == part:
                jpeg = photo_jpeg(draw(*sizes[kind], number))
                cut = len(jpeg) // 2 if number in damaged else len(jpeg)
                members.append((f"{number:02d}.jpg", jpeg[:cut]))
                members.append((f"{number:02d}.txt", f"number {number}".encode()))
        paths.append(str(exported.write_tar(folder() / f"part{part}.tar", members)))
    return paths
