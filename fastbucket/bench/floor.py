"""The floor: what libjpeg-turbo alone would take for the samples of a shard that was just made.

Decode at the shrink that we use, and encode of an image of the target's size, with the quality and
the chroma that we chose; nothing between. Where an image is no plain JPEG the decoder that reads it
(libvips) stands in. A progressive JPEG is decoded as it is, not recoded before: of a source with
many of them an export can take less than this.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import simplejpeg

from ..catalogue import KIND, Archive
from ..decode import SHRINKS, Decoder
from ..format import MEMBERS, STATE, shard_path
from ..geometry import Size
from ..recipe import Recipe
from ..records import Record, short_path
from ..shardlist import Shard
from ..sources import KINDS
from ..sources.names import member_name


class Floor(NamedTuple):
    """Nanoseconds of a shard's samples."""

    decode: int
    encode: int


class Codecs:
    """Decoder and encoder alone, for the shards of one export, planned in `out`."""

    def __init__(self, out: Path, recipe: Recipe) -> None:
        self._out = out
        facts = json.loads((out / STATE / "plan.json").read_text())
        self._shards = [Shard(*shard) for shard in facts["shards"]]
        self._readers = [
            KINDS[archive["kind"]].Reader(Archive(**archive)) for archive in facts["archives"]
        ]
        self._plan = pa.ipc.open_file(pa.memory_map(str(out / STATE / "plan.arrow"))).read_all()
        self._decoder = Decoder(recipe)
        self._source, self._large = bytearray(), np.empty(0, np.uint8)
        self._small = np.empty(0, np.uint8)

    def floor(self, record: Record, number: int) -> Floor:
        """The floor of the samples that `record` says were exported; `number`: of their shard."""
        shard = self._shards[number]
        rows = self._plan.slice(shard.start, shard.stop - shard.start).to_pylist()
        path = self._out / shard_path(record.bucket_id, record.number)
        if record.drops:
            path = short_path(self._out / STATE, record.bucket_id, record.number)
        decode = encode = 0
        with tarfile.open(path, "r:") as tar:
            for position in record.kept:
                jpeg, _, document = (_next(tar) for _ in MEMBERS)
                facts = json.loads(document)
                decode += self._decode(rows[position], facts)
                if facts["image_mode"] == "reencode_jpeg":
                    encode += self._encode(jpeg, facts)
        return Floor(decode, encode)

    def _decode(self, row: dict[str, Any], facts: dict[str, Any]) -> int:
        """Nanoseconds to decode a source image into memory that was used before."""
        name = member_name(row["key"], row["suffix"], "image")
        reader = self._readers[row["archive"]]
        data = reader.read(name, row["image_offset"], row["image_size"], self._source)
        stored = Size(row["width"], row["height"])
        shrink = SHRINKS[0]  # enough to prove that an image passed through is whole
        if facts["image_mode"] == "reencode_jpeg":
            shrink = self._decoder.shrink(row["kind"], facts["scale"], stored)
        if row["kind"] != KIND["jpeg"]:
            start = perf_counter_ns()
            self._decoder.decode(data, row["kind"], row["profile"], stored, shrink)
            return perf_counter_ns() - start
        width, height = -(-stored.width // shrink), -(-stored.height // shrink)
        self._large = _room(self._large, width, height)
        start = perf_counter_ns()
        simplejpeg.decode_jpeg(
            data,
            "RGBX",
            min_width=width if shrink > 1 else 0,
            min_height=height if shrink > 1 else 0,
            min_factor=shrink,
            buffer=self._large,
            strict=False,  # what is flawed was mended or dropped before we came
        )
        return perf_counter_ns() - start

    def _encode(self, jpeg: bytes, facts: dict[str, Any]) -> int:
        """Nanoseconds to encode what is in the shard once more."""
        self._small = _room(self._small, facts["target_w"], facts["target_h"])
        pixels = simplejpeg.decode_jpeg(jpeg, "RGBX", buffer=self._small)
        start = perf_counter_ns()
        simplejpeg.encode_jpeg(
            pixels,
            quality=facts["jpeg"]["quality"],
            colorspace="RGBX",
            colorsubsampling=facts["jpeg"]["subsampling"].replace(":", ""),
        )
        return perf_counter_ns() - start


def _next(tar: tarfile.TarFile) -> bytes:
    """The content of the next member."""
    member = tar.next()
    file = tar.extractfile(member) if member else None
    if file is None:
        raise EOFError(f"{tar.name!r} ends within a sample")
    return file.read()


def _room(buffer: np.ndarray, width: int, height: int) -> np.ndarray:
    """The buffer, or a larger one if it does not hold RGBX pixels of this size."""
    needed = width * height * 4
    return buffer if buffer.size >= needed else np.empty(needed, np.uint8)
