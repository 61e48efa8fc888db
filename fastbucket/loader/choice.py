"""What of an export a loader takes: its manifest, the chosen buckets, and that all shards stand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import index
from ..errors import RunError
from ..format import FORMATS, MANIFEST, bases, shard_path
from ..state import check_finished


def manifest(out: Path) -> dict[str, Any]:
    """The manifest of a complete export. Raises RunError where there is none of ours, or where work
    on it was interrupted. (`manifest.read` would load pyarrow, in every worker of a DataLoader.)"""
    try:
        facts = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{out} holds no complete export: there is no {MANIFEST}. fastbucket export makes one"
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{out / MANIFEST}: {error}") from None
    if not isinstance(facts, dict) or facts.get("format") not in FORMATS:
        raise RunError(f"{out / MANIFEST} is not of the format {' or '.join(FORMATS)}")
    check_finished(out)
    return facts


def buckets(
    facts: Mapping[str, Any], names: Sequence[str], chosen: Sequence[int]
) -> list[dict[str, Any]]:
    """The buckets of a manifest that are of these names and at these bases; without names or bases
    all of them. Raises RunError for one that it does not have."""
    known = bases(facts) if chosen else []
    for base in chosen:
        if base not in known:
            raise RunError(f"bases: there is no {base}, only {', '.join(map(str, known))}")
    found = {bucket["bucket_id"]: bucket for bucket in facts["buckets"]}
    for name in names:
        if name not in found:
            raise RunError(f"buckets: there is no {name!r}, only {', '.join(found)}")
    return [
        bucket
        for name, bucket in found.items()
        if (not names or name in names)
        and (not chosen or bucket.get("base_resolution", known[0]) in chosen)
    ]


def missing(out: Path, shards: Sequence[index.Shard]) -> Iterator[tuple[index.Shard, Path]]:
    """Shards that are not there, or not of their size, and where they were looked for."""
    for shard in shards:
        path = out / shard_path(shard.bucket_id, shard.number)
        try:
            if path.stat().st_size == shard.bytes:
                continue
        except OSError:
            pass
        yield shard, path
