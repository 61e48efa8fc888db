"""The samples of the contact sheets: thumbnail, caption and facts of each."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RunError
from ..progress import Progress
from ..stored import Place
from ..thumbnails import thumbnails
from .selection import places, shares

SIDE = 192
"""Pixels of a thumbnail's longer side."""

JPEG_LIMIT = 9000
"""Bytes of a thumbnail; a larger one is encoded again at lower quality. Photos have 5,000."""

CAPTION_LIMIT = 700
"""Characters of a caption that the page has."""

NAME_LIMIT = 300
"""Characters of a name or any other text of a sample that the page has."""

FACTS = (
    "source_w", "source_h", "source_bytes", "source_split", "scale", "resized_w", "resized_h",
    "crop_x", "crop_y", "w", "h", "image_mode", "subsampling", "class_name", "caption_variant",
)  # fmt: skip
"""Fields of a sample's JSON that its card shows when it is opened; subsampling is jpeg's."""


class Shown(NamedTuple):
    """One card. archive, member: of the source. bytes: of the stored JPEG."""

    place: Place
    key: str
    image_id: str
    archive: str
    member: str
    caption: str
    jpeg: bytes
    bytes: int
    facts: dict[str, Any]


def shown(
    out: Path, manifest: dict[str, Any], total: int, seed: int, progress: Progress
) -> tuple[dict[str, list[Shown]], list[str]]:
    """bucket_id -> its cards, and what could not be shown and why."""
    buckets = manifest["buckets"]
    found: dict[str, list[Shown]] = {}
    wrong: list[str] = []
    wanted = shares([bucket["count"] for bucket in buckets], total)
    progress.phase("look", sum(wanted), "samples")
    for bucket, count in zip(buckets, wanted, strict=True):
        those = places(bucket, count, seed)
        try:
            made = thumbnails(out, those, SIDE, words=True, limit=JPEG_LIMIT)
            found[bucket["bucket_id"]] = [
                _card(place, small) for place, small in zip(those, made, strict=True)
            ]
        except RunError as error:
            wrong.append(str(error))
            found[bucket["bucket_id"]] = []
        progress.advance(count)
    return found, wrong


def _card(place: Place, small: Any) -> Shown:
    try:
        sample = json.loads(small.facts)
        sample = sample if isinstance(sample, dict) else {}
    except (ValueError, RecursionError):
        sample = {}
    jpeg = sample.get("jpeg")
    values = {**sample, "subsampling": jpeg.get("subsampling") if isinstance(jpeg, dict) else ""}
    facts = {
        name: shortened(value, NAME_LIMIT) if isinstance(value, str) else value
        for name in FACTS
        if isinstance(value := values.get(name), (str, int, float))
        if not isinstance(value, float) or math.isfinite(value)
    }
    return Shown(
        place,
        shortened(small.key, 64),
        shortened(str(sample.get("image_id", "")), NAME_LIMIT),
        shortened(str(sample.get("source_archive", "")), NAME_LIMIT),
        shortened(str(sample.get("source_member", "")), NAME_LIMIT),
        shortened(small.caption, CAPTION_LIMIT),
        small.jpeg,
        small.stored,
        facts,
    )


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters, and what is no text (half of a pair) replaced."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"
