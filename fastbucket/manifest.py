"""manifest.json: written last, its presence means that the export is complete."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from . import __version__, commit
from .buckets import Bucket
from .catalogue import Archive, broken
from .errors import RunError
from .fill import Final
from .format import (
    FORMAT,
    FORMAT_V2,
    FORMATS,
    MANIFEST,
    MANIFEST_FIELDS,
    MANIFEST_FIELDS_V2,
    shard_path,
)
from .recipe import Recipe
from .sidecar import Carried
from .software import installed


def source_facts(
    archives: Sequence[Archive],
    tables: Sequence[pa.Table],
    excluded: int,
    carried: Sequence[Carried],
) -> dict[str, Any]:
    """What the manifest says of the source."""
    splits: dict[str, int] = {}
    for archive, table in zip(archives, tables, strict=True):
        splits[archive.split] = splits.get(archive.split, 0) + table.num_rows
    return {
        "archives": len(archives),
        "samples": sum(table.num_rows for table in tables),
        "splits": splits,
        "excluded": excluded,
        "broken": [
            {"archive": archive.name, "why": broken(table)}
            for archive, table in zip(archives, tables, strict=True)
            if broken(table)
        ],
        "carried": [field._asdict() for field in carried],
    }


def bucket_facts(buckets: Sequence[Bucket], finals: Mapping[int, Sequence[Final]]) -> list[Any]:
    """The table of buckets with their shards; only buckets with samples."""
    return [
        {
            "bucket_id": bucket.id,
            **({"base_resolution": bucket.base} if bucket.base else {}),
            "target_w": bucket.target.width,
            "target_h": bucket.target.height,
            "count": sum(final.samples for final in finals[index]),
            "shards": [shard_facts(bucket.id, *final) for final in finals[index]],
        }
        for index, bucket in enumerate(buckets)
        if finals.get(index)
    ]


def shard_facts(
    bucket_id: str, number: int, samples: int, size: int, sha256: str
) -> dict[str, Any]:
    """What the manifest says of a shard. size: bytes of the tar."""
    return {
        "path": shard_path(bucket_id, number),
        "count": samples,
        "bytes": size,
        "sha256": sha256,
    }


def make(
    export_id: str,
    recipe: Recipe,
    workers: int,
    source: dict[str, Any],
    dropped: Mapping[str, int],
    buckets: list[Any],
    caption_sources: list[Any],
) -> dict[str, Any]:
    """The manifest, its keys in the order of the format.

    Raises RunError where samples do not add up: scanned = exported + dropped.
    """
    several = len(recipe.bases) > 1
    counts = images(buckets, recipe.bases)
    exported = counts[0]
    if source["samples"] != exported + sum(dropped.values()):
        raise RunError(
            f"samples do not add up: {source['samples']} scanned, {exported} exported, "
            f"{dict(dropped)} dropped. This is a defect of fastbucket; the export is not complete"
        )
    facts = {
        "format": FORMAT_V2 if several else FORMAT,
        "created_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "export_id": export_id,
        "base_resolution": recipe.base_resolution,
        "base_resolutions": list(recipe.bases),
        "divisible": recipe.divisible,
        "image_codec": {
            "name": "jpeg",
            "mode": recipe.image_mode,
            "quality": recipe.quality,
            "subsampling_policy": recipe.subsampling_policy,
            "adaptive_scale_threshold": recipe.adaptive_scale_threshold,
        },
        "crop": {
            "strategy": recipe.crop_strategy,
            "allowed_corners": list(recipe.allowed_corners),
        },
        "caption_priority": [{"variant": variant} for variant in recipe.caption_priority],
        "missing_caption_policy": recipe.missing_caption_policy,
        "too_small_policy": recipe.too_small_policy,
        "export_settings": {"shard_size": recipe.shard_size, "workers": workers},
        "proto_buckets_1024": [
            {"width": width, "height": height} for width, height in recipe.protos()
        ],
        "recipe": recipe.to_json(),
        "source": source,
        "counts": {
            "exported": exported,
            **({"images": sum(counts)} if several else {}),
            "dropped": dict(dropped),
        },
        "buckets": buckets,
        "caption_sources": caption_sources,
        "software": software(),
    }
    return {name: facts[name] for name in (MANIFEST_FIELDS_V2 if several else MANIFEST_FIELDS)}


def images(buckets: Sequence[Mapping[str, Any]], bases: Sequence[int]) -> list[int]:
    """Images at every base, ascending, of the manifest's buckets. At the smallest base they are the
    samples: one of each."""
    counts = dict.fromkeys(bases, 0)
    for bucket in buckets:
        counts[bucket.get("base_resolution", bases[0])] += bucket["count"]
    return list(counts.values())


def write(out: Path, facts: dict[str, Any]) -> None:
    """Commit the manifest, and with it the export."""
    commit.write_text(out / MANIFEST, json.dumps(facts, ensure_ascii=False, indent=2) + "\n")


def read(out: Path, what: str) -> dict[str, Any]:
    """The manifest of a complete export. what: is done to one, for the message. Raises RunError
    where there is none."""
    try:
        facts = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{out}: no {MANIFEST}; {what} a complete export (fastbucket export)"
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {out / MANIFEST}: {error}") from None
    if not isinstance(facts, dict) or facts.get("format") not in FORMATS:
        raise RunError(f"{out / MANIFEST} is no manifest of {' or '.join(FORMATS)}")
    return facts


def software() -> dict[str, str]:
    """Versions of everything that touches a pixel."""
    from .decode.library import vips
    from .encode import turbo_version

    pyvips = vips()
    return {
        "fastbucket": __version__,
        "libvips": ".".join(str(pyvips.version(part)) for part in range(3)),
        "simplejpeg": installed("simplejpeg"),  # decodes
        "libjpeg-turbo": _turbo_version(),  # simplejpeg's
        "pillow": installed("pillow"),  # encodes
        "libjpeg-turbo of pillow": turbo_version(),
        "numba": installed("numba"),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _turbo_version() -> str:
    """The version string inside simplejpeg's library: it has no call that tells it."""
    import re

    from simplejpeg import _jpeg

    found = re.search(rb"libjpeg-turbo version ([0-9][0-9.]*)", Path(_jpeg.__file__).read_bytes())
    return found.group(1).decode() if found else "unknown"
