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
from .sources.names import member_name
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


class Given(NamedTuple):
    """What the source has of a sample. key: of the format. data: the image file, which may lie in
    a buffer. fields: those of the output that come from beside it, in their order. caption: the
    recipe's, "" where there is none."""

    name: str
    key: str
    source: Source
    data: memoryview
    fields: dict[str, Any]
    caption: str


Read = Callable[[dict[str, Any], str, bytearray], memoryview]
"""(row, part, buffer) -> the bytes of a member of a sample: part is image, text, json or class.
They may lie in the buffer, and last until it is used again."""


class SampleMaker:
    """Makes samples by a recipe, out of what `read` reads: `given`, then `render`, then `samples`.

    In three steps, so that whoever makes many takes each for some samples at a time. Between the
    pixels of two images everything else has left the processor's caches, the interpreter included:
    the JSON of sixteen samples in a row takes less than half of what it takes one by one.
    """

    def __init__(self, recipe: Recipe, stopwatch: Stopwatch, read: Read) -> None:
        self._recipe, self._stopwatch, self._read = recipe, stopwatch, read
        self.transcoder = Transcoder(recipe, stopwatch)
        self.headers = Headers(recipe.mtime)
        self._side = bytearray()
        self._may_caption = CAPTION_SOURCE in recipe.caption_priority
        self._selector = (
            recipe.caption_priority.index(CAPTION_SOURCE) if self._may_caption else MISSING_NUMBER
        )

    def given(
        self, row: dict[str, Any], archive: Archive, carried: Sequence[Carried], into: bytearray
    ) -> Given:
        """What the source has of a row, its image in `into`."""
        name = image_id(archive.id_prefix, text(row["key"]))
        source = Source(
            row["kind"],
            row["profile"],
            row["chroma"],
            Size(row["width"], row["height"]),
            row["orientation"],
            bool(row.get("progressive", True)),  # a plan of an earlier build says nothing of it
        )
        data = self._read(row, "image", into)
        self._stopwatch.lap("read")
        fields = json_object(self._sidecar(row, "json"))
        caption = caption_of(self._sidecar(row, "text")).strip()
        if not caption and self._recipe.caption_field:
            caption = as_str(fields.get(self._recipe.caption_field)).strip()
        beside = {
            "class_id": class_id(self._sidecar(row, "class")),
            "label": as_int(fields.get("label")),
            "label_12k": as_int(fields.get("label_12k")),
            "class_name": as_str(fields.get("class_name")),
            **values(carried, fields),
        }
        given = Given(
            name,
            sample_key(name),
            source,
            data,
            beside,
            caption if self._may_caption else "",
        )
        self._stopwatch.lap("json")
        return given

    def render(self, given: Given, buckets: Sequence[Bucket]) -> list[Transcoded]:
        """Its JPEG for the buckets, the bases ascending. Raises SampleError where it has to be
        dropped; nothing drops a sample behind that."""
        return self.transcoder.render_bases(given.data, given.source, buckets, given.key)

    def samples(
        self,
        given: Given,
        every: Sequence[Transcoded],
        row: dict[str, Any],
        archive: Archive,
        sha256: str,
    ) -> list[Sample]:
        """What the shards take of it. every: what was rendered; sha256: of its data, in hex."""
        samples = []
        for done in every:
            document = self._document(row, archive, given, done, sha256)
            members = [done.jpeg, caption_text(given.caption), _compact(document).encode()]
            samples.append(Sample(given.key, members, bool(given.caption), done.size, done.look))
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
        given: Given,
        done: Transcoded,
        sha256: str,
    ) -> dict[str, Any]:
        """The JSON of a sample, in the order of format.SAMPLE_FIELDS."""
        return {
            "image_id": given.name,
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
            "source_member": text(member_name(row["key"], row["suffix"], "image")),
            "source_w": done.source.width,
            "source_h": done.source.height,
            "source_bytes": row["image_size"],
            "source_sha256": sha256,
            **given.fields,
            "caption_variant": CAPTION_SOURCE if given.caption else MISSING_TEXT,
            "caption_selector_index": self._selector if given.caption else MISSING_NUMBER,
            "caption_source_id": CAPTION_SOURCE_ID if given.caption else MISSING_NUMBER,
        }


_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
