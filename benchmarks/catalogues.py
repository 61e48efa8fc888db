"""Catalogues of a source that is not there: as the scan of timm/imagenet-22k-wds leaves them.

Sizes of files and of images are drawn, seeded; 9 % of them fit a bucket. `Phantom` stands in for
the tars where a plan reads from them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fastbucket.catalogue import COLUMNS, KIND, Archive, Catalogue

ARCHIVES, PER_ARCHIVE = 4608, 3070
FITTING = 0.09
STAMP = "drawn"
COMMON = ((640, 480), (800, 600), (1024, 768), (1600, 1200), (2048, 1536), (1024, 683), (768, 1024))
"""Sizes that cameras and sites make: the search for duplicates meets many of one size."""

SHARE_COMMON = 0.6
SMALL = ((500, 375), (375, 500), (500, 333), (300, 225), (320, 240), (400, 300))


def make(folder: Path, archives: int) -> None:
    """Write the catalogues, unless they are there."""
    done = folder / "done"
    if done.is_file():
        return
    print(f"making {folder}", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(0)
    keys = pa.array([f"n{n % 21841:08d}_{n}".encode() for n in range(PER_ARCHIVE)], pa.binary())
    for number in range(archives):
        Catalogue(_columns(dice, keys), extra={"members": 3 * PER_ARCHIVE}).write(
            path(folder, number), STAMP
        )
    done.touch()


def path(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.arrow"


def archive(number: int) -> Archive:
    name = f"imagenet22k-train-{number:04d}"
    return Archive("tar", f"/nowhere/{name}.tar", name, "train", PER_ARCHIVE * 100_000)


def _columns(dice: np.random.Generator, keys: pa.Array) -> dict[str, Any]:
    n = PER_ARCHIVE
    columns: dict[str, Any] = {
        name: np.zeros(n, kind.to_pandas_dtype())
        for name, kind in COLUMNS.items()
        if pa.types.is_integer(kind)
    }
    fits = dice.random(n) < FITTING
    width, height = np.array(SMALL)[dice.integers(len(SMALL), size=n)].T
    large = np.array(COMMON)[dice.integers(len(COMMON), size=n)].T
    free = np.array([dice.integers(700, 3000, n), dice.integers(700, 3000, n)])
    chosen = np.where(dice.random(n) < SHARE_COMMON, large, free)
    width, height = np.where(fits, chosen, (width, height))
    size = (width * height * dice.lognormal(-1.3, 0.35, n)).astype(np.int64) + 2000
    ends = np.cumsum(2048 + (size + 511) // 512 * 512)
    columns |= {
        "key": keys,
        "suffix": pa.array([b"jpg"] * n, pa.binary()),
        "detail": pa.array([""] * n, pa.string()),
        "image_offset": ends - size,
        "image_size": size,
        "json_offset": ends - size - 1024,
        "json_size": np.full(n, 150),
        "class_offset": ends - size - 2048,
        "class_size": np.full(n, 3),
        "text_size": np.full(n, -1),
        "width": width,
        "height": height,
        "orientation": np.where(dice.random(n) < 0.01, 6, 1),
        "kind": np.full(n, KIND["jpeg"]),
        "chroma": np.full(n, 0x11),
        "components": np.full(n, 3),
    }
    return columns


class Phantom:
    """A `sources.Kind` whose members are made up when they are read, each different."""

    class Reader:
        def __init__(self, archive: Archive) -> None:
            self._name = archive.name.encode()

        def read(self, name: str | bytes, offset: int, size: int, into: bytearray) -> memoryview:
            if name[-4:] in ("json", b"json"):
                facts = {"label": offset % 1000, "width": 640, "height": 480, "class_name": "n0"}
                return memoryview(json.dumps(facts).encode())
            return memoryview(self._name + offset.to_bytes(8, "big") + bytes(min(size, 4096)))

        def close(self) -> None:
            """Nothing is open."""
