"""Exports of drawn shards of any shape, made in no time: manifest, shards and indexes alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import simplejpeg

from fastbucket import index
from fastbucket.format import FORMAT, MANIFEST, shard_path
from fastbucket.shard import ShardFile
from fastbucket.tar import Headers

TARGETS = {
    "p1024x1024": (32, 32), "p1152x832": (48, 32), "p832x1152": (32, 48), "p640x1536": (16, 48),
}  # fmt: skip


class ShardSet(NamedTuple):
    """An export of this kind. keys: of every bucket, in the order of its shards."""

    out: Path
    keys: dict[str, list[str]]

    @property
    def every(self) -> list[str]:
        return [key for keys in self.keys.values() for key in keys]


def make(out: Path, counts: Mapping[str, int], shard_size: int, indexed: bool = True) -> ShardSet:
    """Buckets of so many samples; every image is of one colour, its number in its bucket."""
    keys: dict[str, list[str]] = {}
    buckets: list[dict[str, Any]] = []
    (out / "buckets").mkdir(parents=True)
    for bucket_id, count in counts.items():
        width, height = TARGETS[bucket_id]
        names = [f"{bucket_id}/{number}" for number in range(count)]
        keys[bucket_id] = [hashlib.sha256(name.encode()).hexdigest() for name in names]
        shards = []
        for number in range(-(-count // shard_size)):
            here = range(number * shard_size, min((number + 1) * shard_size, count))
            path = out / shard_path(bucket_id, number)
            with ShardFile(path) as shard:
                for at in here:
                    shard.add(Headers(0).sample(keys[bucket_id][at], _members(at, width, height)))
                sha256 = shard.commit()
            shards.append({"path": shard_path(bucket_id, number), "count": len(here),
                           "bytes": shard.bytes, "sha256": sha256})  # fmt: skip
        buckets.append({"bucket_id": bucket_id, "target_w": width, "target_h": height,
                        "count": count, "shards": shards})  # fmt: skip
    facts = {"format": FORMAT, "export_id": "0" * 16, "buckets": buckets}
    (out / MANIFEST).write_text(json.dumps(facts))
    if indexed:
        index.write(out)
    return ShardSet(out, keys)


def _members(at: int, width: int, height: int) -> Sequence[bytes]:
    pixels = np.full((height, width, 3), at % 256, np.uint8)
    facts = {
        "image_id": f"x/{at}", "w": width, "h": height, "image_mode": "reencode_jpeg",
        "target_w": width, "target_h": height, "crop_x": 1, "crop_y": 2, "source_w": width + at,
        "source_h": height + at,
    }  # fmt: skip
    document = json.dumps(facts, separators=(",", ":")).encode()
    return [simplejpeg.encode_jpeg(pixels, 95, "RGB", "444"), f"Number {at}\n".encode(), document]
