"""One sample of an export: from a row of the plan to what its shards take of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .buckets import Bucket
from .catalogue import Archive, Source, text
from .format import (
    CAPTION_SOURCE,
    CAPTION_SOURCE_ID,
    MISSING_NUMBER,
    MISSING_TEXT,
    caption_text,
    image_id,
    sample_key,
)
from .geometry import Size
from .look import Look
from .recipe import Recipe
from .sidecar import SIDECAR_LIMIT, Carried, as_int, as_str, class_id, json_object, values
from .sidecar import text as caption_of
from .sources.names import member_names
from .stopwatch import Stopwatch
from .tar import Headers
from .transcode import Transcoded, Transcoder


class Sample(NamedTuple):
    """What a shard takes of a sample. members: in the order of the format. captioned: whether one
    has words. size: of the JPEG."""

    key: str
    members: list[bytes]
    captioned: bool
    size: Size
    look: Look


Read = Callable[[dict[str, Any], str, bytearray], memoryview]
"""(row, part, buffer) -> the bytes of a member of a sample: part is image, text, json or class.
They may lie in the buffer, and last until it is used again."""

Hashed = Callable[[str, bytes, memoryview, Headers], str]
"""(key, image, source, headers) -> SHA-256 of the source in hex: `Growing.begin`, or who needs no
more than that."""


class SampleMaker:
    """Makes samples by a recipe, out of what `read` reads. Keeps its buffers."""

    def __init__(self, recipe: Recipe, stopwatch: Stopwatch, read: Read) -> None:
        self._recipe, self._stopwatch, self._read = recipe, stopwatch, read
        self.transcoder = Transcoder(recipe, stopwatch)
        self.headers = Headers(recipe.mtime)
        self._image, self._side = bytearray(), bytearray()

    def make(
        self,
        row: dict[str, Any],
        archive: Archive,
        carried: Sequence[Carried],
        buckets: Sequence[Bucket],
        hashed: Hashed,
    ) -> list[Sample]:
        """What the shards of these buckets, the bases ascending, take of a row.

        hashed: takes the image of the first and gives the SHA-256 of the source, see
        `Growing.begin`. Nothing drops a sample behind it.
        """
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
        every = self.transcoder.render_bases(data, source, buckets, key)
        fields = json_object(self._sidecar(row, "json"))
        caption = caption_of(self._sidecar(row, "text")).strip()
        if not caption and self._recipe.caption_field:
            caption = as_str(fields.get(self._recipe.caption_field)).strip()
        captioned = bool(caption) and CAPTION_SOURCE in self._recipe.caption_priority
        number = class_id(self._sidecar(row, "class"))
        documents = [
            self._document(row, archive, carried, name, done, fields, number, captioned)
            for done in every
        ]
        self._stopwatch.lap("json")
        sha256 = hashed(key, every[0].jpeg, data, self.headers)
        self._stopwatch.lap("hash")
        samples = []
        for done, document in zip(every, documents, strict=True):
            document["source_sha256"] = sha256
            members = [
                done.jpeg,
                caption_text(caption if captioned else ""),
                json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(),
            ]
            samples.append(Sample(key, members, captioned, done.size, done.look))
        self._stopwatch.lap("json")
        return samples

    def _sidecar(self, row: dict[str, Any], part: str) -> memoryview | bytes:
        """A text, json or class member; empty where there is none, or one beyond all reason."""
        if not 0 < row[f"{part}_size"] <= SIDECAR_LIMIT:
            return b""
        return self._read(row, part, self._side)

    def _document(
        self,
        row: dict[str, Any],
        archive: Archive,
        carried: Sequence[Carried],
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
            **values(carried, fields),
            "caption_variant": CAPTION_SOURCE if captioned else MISSING_TEXT,
            "caption_selector_index": (
                self._recipe.caption_priority.index(CAPTION_SOURCE) if captioned else MISSING_NUMBER
            ),
            "caption_source_id": CAPTION_SOURCE_ID if captioned else MISSING_NUMBER,
        }
