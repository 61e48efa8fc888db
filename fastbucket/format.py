"""`bucketed_shards_v1` and `_v2`, once: names, member order, the JSON of a sample, the manifest.

The writer, the verifier and the card take their names from here. docs/format.md says the same in
prose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any

FORMAT = "bucketed_shards_v1"
FORMAT_V2 = "bucketed_shards_v2"
"""Of an export of several base resolutions: the same in all but the manifest and the bucket_ids,
which have the base before them. Every sample stands at the same place of its bucket at every base
that it went to: see docs/format.md."""
FORMATS = (FORMAT, FORMAT_V2)

MANIFEST = "manifest.json"
CARD = "README.md"
BUCKETS = "buckets"
META = "meta"
INDEX = "index"
WIDS = f"{INDEX}/wids.json"
"""All shards, as webdataset's wids reads them."""
SHARD_INDEX = f"{INDEX}/webshart"
"""Where every member of every shard lies, as webshart reads it: one file a shard."""
CAPTIONS = "captions.sqlite"
"""The workspace of the captions: it outlives the export beside which it lies."""
RUN = "run.json"
"""How the run went that made the export: speed, workers, machine. Of no export is it a part that
decides anything: it may be removed, and differs between runs that agree in every other byte."""
REPORT = "report.html"
"""The page of `fastbucket report`."""
SUSPECTS = ("suspects.jsonl", "suspects.html")
"""What `suspects` found, and its page: of one export, and gone with it."""
STATE = ".fastbucket"
"""Working state of an unfinished export, inside the output folder; gone when it is complete."""
SPOOL = "spool"
"""In the state: what streams hold for the buckets, as local tars; a folder, or a link to one."""
WRITTEN_CARD = f"{STATE}/card.md"
"""The card that is being written, as we would have it: what an edited one is compared with by the
next run, if this one ends before the manifest is there."""
APPLYING = f"{STATE}/captions/applying.json"
EARLIER = f"{STATE}/manifest.earlier.json"
"""The manifest of the export that --overwrite cleared away: its card is still there."""
PRUNING = f"{STATE}/pruning/pruning.json"
UNFINISHED = {
    APPLYING: ("captions are being applied", "captions apply"),
    PRUNING: ("samples are being pruned", "prune"),
}
"""Marker -> what goes on, and the command that goes on with it. There while a complete export is
changed: its manifest does not hold then."""

MEMBERS = ("jpg", "txt", "json")
"""Suffixes of a sample's members, in the order in which they stand in the tar."""

TAR_BLOCK = 512
TAR_MODE = 0o644
TAR_END = bytes(2 * TAR_BLOCK)
"""Two zero blocks end an archive; there is no padding to 10 KiB."""

DROP_REASONS = (
    "",  # kept
    "excluded",  # listed by the user
    "no_image",  # no member of the sample is an image
    "unreadable",  # no image header that can be read
    "too_many_pixels",  # more than recipe.max_pixels
    "too_small",  # would need upsampling
    "no_caption",  # only with missing_caption_policy: drop
    "duplicate",  # same source bytes as an earlier sample
    "undecodable",  # header fine, pixels truncated or damaged
    "decoder_crash",  # ended or stalled its process three times, twice of it alone
    "rare_bucket",  # only with min_bucket: its bucket has too few samples, and no other takes it
    "no_plain_jpeg",  # only with passthrough_jpeg and passthrough_other: drop
    "no_bucket",  # the family has no bucket of its orientation
)
"""Index = code in the catalogue, which outlives a version: so new ones stand at the end, wherever
they are tried. In order: excluded, the header (no_image to too_many_pixels, no_plain_jpeg), the
bucket (no_bucket, too_small), no_caption, duplicate, rare_bucket, the pixels."""

INPUT_ERRORS = ("unreadable", "undecodable", "decoder_crash")
"""Reasons that speak of damage; they count against --max-errors."""

IMAGE_MODES = ("reencode_jpeg", "passthrough_jpeg")

MISSING_TEXT = ""
MISSING_NUMBER = -1

# Field -> type, in order. Carried fields of the source's JSON stand after class_name.
SAMPLE_FIELDS: dict[str, Any] = {
    "image_id": str,
    "w": int,
    "h": int,
    "image_mode": str,
    "jpeg": {"quality": int, "subsampling": str},
    "bucket_id": str,
    "target_w": int,
    "target_h": int,
    "scale": float,
    "crop_x": int,
    "crop_y": int,
    "resized_w": int,
    "resized_h": int,
    "source_split": str,
    "source_archive": str,
    "source_member": str,
    "source_w": int,
    "source_h": int,
    "source_bytes": int,
    "source_sha256": str,
    "class_id": int,
    "label": int,
    "label_12k": int,
    "class_name": str,
}
CAPTION_FIELDS: dict[str, Any] = {
    "caption_variant": str,
    "caption_selector_index": int,
    "caption_source_id": int,
}
RESERVED_FIELDS = frozenset(SAMPLE_FIELDS) | frozenset(CAPTION_FIELDS)

CARRIED_TYPES = ("str", "int", "float", "bool")
"""Scalar types of a carried field; null counts as missing."""

META_FIELDS = {
    "image_id": "string",
    "key": "string",  # "" where it was dropped
    "source_archive": "string",
    "source_member": "string",  # "" without an image
    "source_split": "string",
    "source_bytes": "int64",  # -1 without an image
    "source_w": "int32",  # after EXIF orientation; 0 unknown
    "source_h": "int32",
    "orientation": "uint8",  # EXIF, 1 to 8
    "format": "string",  # catalogue.KINDS
    "reason": "string",  # "" where it was kept
    "detail": "string",  # the decoder's words
    "bucket_id": "string",  # the bucket it would fall into, also of dropped ones
    "shard": "int32",  # -1 where it was dropped
    "position": "int32",  # index of the sample within its shard
    "phash": "uint64",  # 0 where it was dropped unseen, but another may have that too
    "luma_range": "int16",  # levels of 255; -1 where it was dropped unseen, as all that follow
    "modal_share": "int16",  # thousandths, as all that follow
    "bimodal_share": "int16",
    "edge_share": "int16",
    "border_share": "int16",
}
"""Columns of meta/samples-*.parquet and their Arrow types; never null."""

LOOK_FIELDS = tuple(META_FIELDS)[-6:]
"""How the image looks. Exports made before there were these columns have none of them."""

MANIFEST_FIELDS = (
    "format",
    "created_at",
    "export_id",
    "base_resolution",
    "divisible",
    "image_codec",
    "crop",
    "caption_priority",
    "missing_caption_policy",
    "too_small_policy",
    "export_settings",
    "proto_buckets_1024",
    "recipe",
    "source",
    "counts",
    "buckets",
    "caption_sources",
    "software",
)

MANIFEST_FIELDS_V2 = tuple(
    name
    for field in MANIFEST_FIELDS
    for name in ((field, "base_resolutions") if field == "base_resolution" else (field,))
)

CAPTION_SOURCE = "caption_source"
"""The variant of captions that came with the source."""

CAPTION_SOURCE_ID = 1
"""Id of `caption_source` in the manifest's caption_sources."""


def image_id(archive: str, member_key: str) -> str:
    """The identity of a sample: `<archive>/<member key>`; for a folder source, the key alone."""
    return f"{archive}/{member_key}" if archive else member_key


def _short_sha256() -> Callable[[bytes], Any]:
    """SHA-256 for a few bytes: CPython's own, which takes 9 us less between two images than that of
    OpenSSL, where contexts are set up first. hashlib's where this Python has no such module."""
    for name in ("_sha2", "_sha256"):  # from 3.12 on, and before
        with suppress(ImportError, AttributeError):
            found: Callable[[bytes], Any] = import_module(name).sha256
            return found
    return hashlib.sha256


_sha256 = _short_sha256()


def sample_key(image_id: str) -> str:
    """The key of a sample: the 64 hex digits of SHA-256 of its UTF-8 image_id."""
    digits: str = _sha256(image_id.encode()).hexdigest()
    return digits


def bases(manifest: Mapping[str, Any]) -> list[int]:
    """The base resolutions of a manifest, ascending; one of v1 has one."""
    return list(manifest.get("base_resolutions") or [manifest["base_resolution"]])


def at_smaller_bases(bucket_id: str, bases: Sequence[int]) -> list[str]:
    """The ids under which the samples of a bucket_id stand too: of the same bucket at the smaller
    ones of these bases, ascending. None in v1, where a bucket_id has no base before it."""
    own, found, name = bucket_id.partition("-")
    return [f"{base}-{name}" for base in bases if base < int(own)] if found else []


def at_larger_bases(bucket_id: str, bases: Sequence[int]) -> list[str]:
    """The ids of the same bucket at the larger ones of these bases, descending: what stands there
    stands under bucket_id too. None in v1."""
    own, found, name = bucket_id.partition("-")
    return [f"{base}-{name}" for base in reversed(bases) if base > int(own)] if found else []


def proto(bucket_id: str) -> str:
    """A bucket_id without the base before it: what a bucket is called at all bases."""
    return bucket_id.rpartition("-")[2]


def shard_name(number: int) -> str:
    return f"shard-{number:06d}.tar"


def shard_path(bucket_id: str, number: int) -> str:
    """Path of a shard relative to the output folder, with forward slashes."""
    return str(PurePosixPath(BUCKETS, bucket_id, shard_name(number)))


def index_path(bucket_id: str, number: int) -> str:
    """Path of a shard's index relative to the output folder: as the shard's below buckets/."""
    return str(PurePosixPath(SHARD_INDEX, bucket_id, shard_name(number)).with_suffix(".json"))


def caption_text(caption: str) -> bytes:
    """The `.txt` member: UTF-8, exactly one newline at its end; just that without a caption."""
    return caption.rstrip("\r\n").encode() + b"\n"
