"""The stage that is replaced: webdataset, Pillow, torch float, Pillow, TarWriter, one process.

At its best: it looks at the size before it decodes, so nothing that is dropped is decoded. Its
imports are outside of the time, unlike ours.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ..contenders import torch_float
from ..corpus import Plan

NAME = "the same, looking at the size before it decodes"
DISTRIBUTIONS = ("webdataset", "pillow", "torch")
SHARD_SIZE = 1024


class Place(NamedTuple):
    """Where an image goes; sizes are (width, height)."""

    bucket: str
    target: tuple[int, int]
    scale: float
    resized: tuple[int, int]


def available() -> str | None:
    from importlib.util import find_spec

    return torch_float.available() or (
        None if find_spec("webdataset") else "webdataset is not installed"
    )


def load() -> None:
    import torch
    import webdataset  # noqa: F401
    from PIL import Image

    Image.init()
    torch.set_num_threads(1)


def export(
    tars: Sequence[Path], out: Path, see: Callable[[Any], None] = lambda image: None
) -> dict[str, Any]:
    """see: called with every image as Pillow opened it, before its size decides."""
    import webdataset
    from PIL import Image, ImageOps

    writer = _Writer(out)
    for sample in webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False):
        data = sample["jpg"]
        image = Image.open(io.BytesIO(data))
        see(image)
        turned = image.getexif().get(0x0112, 1) in range(5, 9)
        place = choose(*(image.size[::-1] if turned else image.size))
        if place.scale > 1:
            continue
        if image.getexif().get(0x0112, 1) != 1:
            out_of_exif = io.BytesIO()
            ImageOps.exif_transpose(image).save(out_of_exif, "JPEG", quality=100, subsampling=0)
            data = out_of_exif.getvalue()
        image_id = f"{Path(sample['__url__']).stem}/{sample['__key__']}"
        key = hashlib.sha256(image_id.encode()).hexdigest()
        plan = _plan(image_id, key, place, image.size)
        jpeg = torch_float.transcode(data, plan)
        writer.write(place.bucket, key, jpeg, _facts(sample, data, image_id, place, plan))
    return writer.close()


@lru_cache(4096)
def choose(width: int, height: int) -> Place:
    """The rule `short_long` of format.md, section 4; rounded, so that a tie is one."""
    best = min(
        (
            (round(abs(min(width, height) / max(width, height) - ratio), 12), number)
            for number, (ratio, _, (w, h)) in enumerate(_buckets())
            if (w >= h if width >= height else w <= h)
        ),
    )
    _, bucket, target = _buckets()[best[1]]
    scale = max(target[0] / width, target[1] / height)
    resized = (
        max(target[0], int(width * scale + 0.5)),
        max(target[1], int(height * scale + 0.5)),
    )
    return Place(bucket, target, scale, resized)


@lru_cache(1)
def _buckets() -> list[tuple[float, str, tuple[int, int]]]:
    """(short / long, bucket_id, target) at base 512."""
    from fastbucket.buckets import buckets

    return [
        (min(b.target) / max(b.target), b.id, (b.target.width, b.target.height))
        for b in buckets("sdxl", 512, 32)
    ]


def _plan(image_id: str, key: str, place: Place, size: tuple[int, int]) -> Plan:
    right = int(key[:16], 16) % 2  # corners 2 and 3: bottom-left and bottom-right
    spare = (place.resized[0] - place.target[0], place.resized[1] - place.target[1])
    return Plan(
        name=image_id,
        source=size,
        target=place.target,
        scale=place.scale,
        resized=place.resized,
        crop=(spare[0] * right, spare[1]),
        shrink=1,
        quality=95,
        subsampling="4:4:4" if place.scale < 0.85 else "4:2:0",
    )


def _facts(
    sample: dict[str, Any], data: bytes, image_id: str, place: Place, plan: Plan
) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "w": plan.target[0],
        "h": plan.target[1],
        "bucket_id": place.bucket,
        "scale": plan.scale,
        "crop_x": plan.crop[0],
        "crop_y": plan.crop[1],
        "source_w": plan.source[0],
        "source_h": plan.source[1],
        "source_sha256": hashlib.sha256(data).hexdigest(),
        "class_id": int(sample.get("cls", -1)),
    }


class _Writer:
    """webdataset's TarWriter, a tar for each bucket, a new one every SHARD_SIZE samples."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._open: dict[str, Any] = {}
        self._counts: dict[str, int] = {}

    def write(self, bucket: str, key: str, jpeg: bytes, facts: dict[str, Any]) -> None:
        import webdataset

        count = self._counts.get(bucket, 0)
        if count % SHARD_SIZE == 0:
            if bucket in self._open:
                self._open.pop(bucket).close()
            path = self._out / "buckets" / bucket / f"shard-{count // SHARD_SIZE:06d}.tar"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open[bucket] = webdataset.TarWriter(str(path), mtime=0)
        self._open[bucket].write({"__key__": key, "jpg": jpeg, "txt": "\n", "json": facts})
        self._counts[bucket] = count + 1

    def close(self) -> dict[str, Any]:
        for tar in self._open.values():
            tar.close()
        written = sum(path.stat().st_size for path in self._out.rglob("*.tar"))
        return {"samples": sum(self._counts.values()), "bytes": written}
