"""One task of the export: one shard, whole, from source bytes to a committed tar. With several
bases it is the shards of one number of a bucket at all of them, which have the same samples.

Runs in a worker. What it needs of each sample stands in plan.arrow, which all workers map; what it
did stands in a record beside, written after the shard is visible: a shard without a record is
made again, and comes out the same.
"""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from . import index
from .buckets import Bucket
from .catalogue import Archive, Source, text
from .errors import SampleError
from .format import (
    CAPTION_SOURCE,
    CAPTION_SOURCE_ID,
    MEMBERS,
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

_PAIRED = 64
"""Samples from which on a shard loads the kernel that hashes a source beside its image: it takes as
long to load as it saves on some hundred."""

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


class _Part:
    """A shard that is being made: its file, and what its record will say. samples: of its plan."""

    def __init__(self, out: Path, bucket: Bucket, shard: Shard, file: ShardFile) -> None:
        self._out, self._file = out, file
        self.bucket, self.number, self.samples = bucket, shard.number, shard.stop - shard.start
        self._drops: list[Drop] = []
        self._kept: list[int] = []
        self._ends: list[int] = []
        self._entries: list[index.Entry] = []
        self._looks = bytearray()
        self._captions = 0
        self._begun = False  # the image of the next sample is there

    def begin(self, key: str, jpeg: bytes, source: memoryview, headers: Headers) -> str:
        """Take the image of the sample that is added next, and hash its source beside it, which
        costs less than to hash both. Returns the SHA-256 of the source, in hex."""
        header, content, padding = headers.member(key, MEMBERS[0], jpeg)
        self._file.add([header])
        sha256 = self._file.add_beside(content, source)
        self._file.add([padding])
        self._begun = True
        return sha256

    def drop(self, position: int, error: SampleError) -> None:
        self._drops.append(Drop(position, error.reason, error.detail))

    def add(self, position: int, sample: _Sample, headers: Headers) -> None:
        self._captions += sample.captioned
        self._kept.append(position)
        self._looks += _LOOK.pack(*sample.look)
        blocks = headers.sample(sample.key, sample.members, int(self._begun))
        self._begun = False
        self._ends.append(self._file.add(blocks))
        jpg, txt, document = map(len, sample.members)
        self._entries.append(index.Entry(sample.key, *sample.size, (jpg, txt, document)))

    def commit(self) -> Record:
        """Make the shard visible, or have it wait if it has gaps. Its record is left to write."""
        state, name, drops = self._out / STATE, self.bucket.id, self._drops
        sha256 = self._file.commit(short_path(state, name, self.number) if drops else None)
        if not drops:  # else it changes yet
            written = index.Shard(name, self.number, len(self._kept), self._file.bytes, sha256)
            index.write_shard(self._out, written, self._entries)
        return Record(
            name,
            self.number,
            len(self._kept),
            self._file.bytes,
            sha256,
            self._captions,
            drops,
            self._kept,
            self._ends,
            base64.b64encode(self._looks).decode(),
            {},
        )


Hashed = Callable[[str, bytes, memoryview, Headers], str]
"""(key, image, source, headers) -> SHA-256 of the source in hex: `_Part.begin`, or who needs no
more than that."""


class ShardTask:
    """Makes shards of one export. Called with the indices of shards in the plan, one or, of one
    number at every base, several (`Plan.tasks`), and a report; its positions are those of the
    samples in the first shard's plan. Returns the records of the shards."""

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

    def __call__(self, numbers: Sequence[int], report: Reporter) -> list[Record]:
        shards = [self._shards[number] for number in numbers]
        rows = self._plan.slice(shards[0].start, shards[0].stop - shards[0].start).to_pylist()
        told, reported = time.monotonic(), 0
        self._at = report.at
        self._stopwatch.start()
        with ExitStack() as files:
            parts = [self._part(shard, files) for shard in shards]
            for position, row in enumerate(rows):
                here = [part for part in parts if position < part.samples]
                try:
                    self._position = position
                    report.at(position)
                    samples = self._samples(row, [part.bucket for part in here], here[0].begin)
                except SampleError as error:
                    self._stopwatch.lap("decode")
                    for part in here:
                        part.drop(position, error)
                else:
                    report.at(None)  # what is slow from here on is the drive, not the sample
                    for part, sample in zip(here, samples, strict=True):
                        part.add(position, sample, self._headers)
                    self._stopwatch.lap("write")
                now = time.monotonic()
                if now - told >= _PROGRESS_SECONDS:
                    report(position + 1 - reported)
                    told, reported = now, position + 1
            report.at(None)
            records = [part.commit() for part in parts]
        self._stopwatch.lap("write")
        report(len(rows) - reported)
        records[0] = records[0]._replace(nanoseconds=self._stopwatch.take())
        for record in records:
            record.write(record_path(self._state, record.bucket_id, record.number))
        return records

    def _part(self, shard: Shard, files: ExitStack) -> _Part:
        bucket = self._transcoder.buckets[shard.bucket]
        paired = shard.stop - shard.start >= _PAIRED
        path = self._out / shard_path(bucket.id, shard.number)
        file = files.enter_context(ShardFile(path, paired))
        return _Part(self._out, bucket, shard, file)

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

    def _samples(
        self, row: dict[str, Any], buckets: Sequence[Bucket], hashed: Hashed
    ) -> list[_Sample]:
        """What the shards of these buckets, the bases ascending, take of a row.

        hashed: takes the image of the first and gives the SHA-256 of the source, see `_Part.begin`.
        Nothing drops a sample behind it.
        """
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
        every = self._transcoder.render_bases(data, source, buckets, key)
        fields = json_object(self._sidecar(row, "json"))
        caption = caption_of(self._sidecar(row, "text")).strip()
        if not caption and self._recipe.caption_field:
            caption = as_str(fields.get(self._recipe.caption_field)).strip()
        captioned = bool(caption) and CAPTION_SOURCE in self._recipe.caption_priority
        number = class_id(self._sidecar(row, "class"))
        documents = [
            self._document(row, archive, name, done, fields, number, captioned) for done in every
        ]
        self._stopwatch.lap("json")
        sha256 = hashed(key, every[0].jpeg, data, self._headers)
        self._stopwatch.lap("hash")
        samples = []
        for done, document in zip(every, documents, strict=True):
            document["source_sha256"] = sha256
            members = [
                done.jpeg,
                caption_text(caption if captioned else ""),
                json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(),
            ]
            samples.append(_Sample(key, members, captioned, done.size, done.look))
        self._stopwatch.lap("json")
        return samples

    def _document(
        self,
        row: dict[str, Any],
        archive: Archive,
        name: str,
        done: Transcoded,
        fields: dict[str, Any],
        class_number: int,
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
            "class_id": class_number,
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
