"""One task of the export: one shard, whole, from source bytes to a committed tar.

Runs in a worker. What it needs of each sample stands in plan.arrow, which all workers map; what it
did stands in a record beside, written after the shard is visible: a shard without a record is
made again, and comes out the same.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import time
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from . import index
from .catalogue import Archive, Source, text
from .errors import SampleError
from .format import (
    CAPTION_SOURCE,
    CAPTION_SOURCE_ID,
    MISSING_NUMBER,
    MISSING_TEXT,
    STATE,
    caption_text,
    image_id,
    sample_key,
    shard_path,
)
from .geometry import Size
from .look import DTYPE, Look
from .planning import Shard
from .progress import GOING_ON, At, Reporter, unwatched
from .recipe import Recipe
from .records import Drop, Record, record_path, short_path
from .shard import ShardFile
from .sidecar import SIDECAR_LIMIT, Carried, as_int, as_str, class_id, json_object, values
from .sidecar import text as caption_of
from .sources import KINDS
from .sources.names import member_names
from .stopwatch import Stopwatch
from .tar import Headers
from .transcode import Transcoded, Transcoder

_PROGRESS_SECONDS = 0.2

_LOOK = struct.Struct("<Q5h")
assert _LOOK.size == DTYPE.itemsize

_OPEN_SOURCES = 64
"""Source archives a worker keeps open; a bucket's samples come from nearly all of them in turn."""


class _Sample(NamedTuple):
    """What a shard takes of a sample. members: in the order of the format. captioned: whether one
    has words. size: of the JPEG."""

    key: str
    members: list[bytes]
    captioned: bool
    size: Size
    look: Look


class ShardTask:
    """Makes shards of one export. Called with (Shard number in the plan, report); its positions
    are those of the samples in the shard's plan."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._out = Path(setup["out"])
        self._state = self._out / STATE
        recipe = Recipe.from_json(setup["recipe"])
        facts = json.loads((self._state / "plan.json").read_text())
        self._archives = [Archive(**archive) for archive in facts["archives"]]
        self._shards = [Shard(*shard) for shard in facts["shards"]]
        self._carried = [Carried(*field) for field in facts["carried"]]
        self._plan = pa.ipc.open_file(pa.memory_map(str(self._state / "plan.arrow"))).read_all()
        self._recipe = recipe
        self._stopwatch = Stopwatch()
        self._transcoder = Transcoder(recipe, self._stopwatch)
        self._headers = Headers(recipe.mtime)
        self._readers: dict[int, Any] = {}
        self._image, self._side = bytearray(), bytearray()
        self._at: At = unwatched
        self._position = 0

    def __call__(self, number: int, report: Reporter) -> Record:
        shard = self._shards[number]
        bucket = self._transcoder.buckets[shard.bucket]
        rows = self._plan.slice(shard.start, shard.stop - shard.start).to_pylist()
        drops: list[Drop] = []
        kept: list[int] = []
        ends: list[int] = []
        entries: list[index.Entry] = []
        looks = bytearray()
        captions, told, reported = 0, time.monotonic(), 0
        path = self._out / shard_path(bucket.id, shard.number)
        self._at = report.at
        self._stopwatch.start()
        with ShardFile(path) as out:
            for position, row in enumerate(rows):
                try:
                    self._position = position
                    report.at(position)
                    sample = self._sample(row, shard.bucket)
                except SampleError as error:
                    self._stopwatch.lap("decode")
                    drops.append(Drop(position, error.reason, error.detail))
                else:
                    report.at(None)  # what is slow from here on is the drive, not the sample
                    captions += sample.captioned
                    kept.append(position)
                    looks += _LOOK.pack(*sample.look)
                    ends.append(out.add(self._headers.sample(sample.key, sample.members)))
                    jpg, txt, document = map(len, sample.members)
                    entries.append(index.Entry(sample.key, *sample.size, (jpg, txt, document)))
                    self._stopwatch.lap("write")
                now = time.monotonic()
                if now - told >= _PROGRESS_SECONDS:
                    report(position + 1 - reported)
                    told, reported = now, position + 1
            report.at(None)
            short = short_path(self._state, bucket.id, shard.number) if drops else None
            sha256 = out.commit(short)
            total = out.bytes
        if not drops:  # else it changes yet
            written = index.Shard(bucket.id, shard.number, len(kept), total, sha256)
            index.write_shard(self._out, written, entries)
        self._stopwatch.lap("write")
        report(len(rows) - reported)
        record = Record(
            bucket.id,
            shard.number,
            len(kept),
            total,
            sha256,
            captions,
            drops,
            kept,
            ends,
            base64.b64encode(looks).decode(),
            self._stopwatch.take(),
        )
        record.write(record_path(self._state, bucket.id, shard.number))
        return record

    def _read(self, row: dict[str, Any], part: str, into: bytearray) -> memoryview:
        index = row["archive"]
        reader = self._readers.get(index)
        if reader is None:
            archive = self._archives[index]
            if len(self._readers) >= _OPEN_SOURCES:
                self._readers.pop(next(iter(self._readers))).close()
            reader = self._readers[index] = KINDS[archive.kind].Reader(archive)
        name = member_names(row["key"], row["suffix"])[part]
        if reader.from_disk:
            self._at(GOING_ON)
        view: memoryview = reader.read(name, row[f"{part}_offset"], row[f"{part}_size"], into)
        self._at(self._position)
        return view

    def _sidecar(self, row: dict[str, Any], part: str) -> memoryview | bytes:
        """A text, json or class member; empty where there is none, or one beyond all reason."""
        if not 0 < row[f"{part}_size"] <= SIDECAR_LIMIT:
            return b""
        return self._read(row, part, self._side)

    def _sample(self, row: dict[str, Any], bucket: int) -> _Sample:
        archive = self._archives[row["archive"]]
        name = image_id(archive.id_prefix, text(row["key"]))
        key = sample_key(name)
        source = Source(
            row["kind"],
            row["profile"],
            row["chroma"],
            Size(row["width"], row["height"]),
            row["orientation"],
        )
        data = self._read(row, "image", self._image)
        self._stopwatch.lap("read")
        done = self._transcoder.render(data, source, self._transcoder.buckets[bucket], key)
        sha256 = hashlib.sha256(data).hexdigest()
        self._stopwatch.lap("hash")
        fields = json_object(self._sidecar(row, "json"))
        caption = caption_of(self._sidecar(row, "text")).strip()
        if not caption and self._recipe.caption_field:
            caption = as_str(fields.get(self._recipe.caption_field)).strip()
        captioned = bool(caption) and CAPTION_SOURCE in self._recipe.caption_priority
        document = self._document(row, archive, name, done, fields, captioned)
        document["source_sha256"] = sha256
        members = [
            done.jpeg,
            caption_text(caption if captioned else ""),
            json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(),
        ]
        self._stopwatch.lap("json")
        return _Sample(key, members, captioned, done.size, done.look)

    def _document(
        self,
        row: dict[str, Any],
        archive: Archive,
        name: str,
        done: Transcoded,
        fields: dict[str, Any],
        captioned: bool,
    ) -> dict[str, Any]:
        """The JSON of a sample, in the order of format.SAMPLE_FIELDS."""
        return {
            "image_id": name,
            "w": done.size.width,
            "h": done.size.height,
            "image_mode": done.image_mode,
            "jpeg": {"quality": done.quality, "subsampling": done.subsampling},
            "bucket_id": done.bucket.id,
            "target_w": done.bucket.target.width,
            "target_h": done.bucket.target.height,
            "scale": done.scale,
            "crop_x": done.crop[0],
            "crop_y": done.crop[1],
            "resized_w": done.resized.width,
            "resized_h": done.resized.height,
            "source_split": archive.split,
            "source_archive": archive.name,
            "source_member": text(member_names(row["key"], row["suffix"])["image"]),
            "source_w": done.source.width,
            "source_h": done.source.height,
            "source_bytes": row["image_size"],
            "source_sha256": MISSING_TEXT,
            "class_id": class_id(self._sidecar(row, "class")),
            "label": as_int(fields.get("label")),
            "label_12k": as_int(fields.get("label_12k")),
            "class_name": as_str(fields.get("class_name")),
            **values(self._carried, fields),
            "caption_variant": CAPTION_SOURCE if captioned else MISSING_TEXT,
            "caption_selector_index": (
                self._recipe.caption_priority.index(CAPTION_SOURCE) if captioned else MISSING_NUMBER
            ),
            "caption_source_id": CAPTION_SOURCE_ID if captioned else MISSING_NUMBER,
        }
