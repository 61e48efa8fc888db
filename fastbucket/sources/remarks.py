"""What a user should know of the sources before the run, and could not see in its figures."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from glob import escape, glob
from typing import Any

from ..catalogue import Archive
from ..errors import RunError
from . import parquet, script

_SHOWN = 3
"""Kinds of failures that are named."""


def remarks(archives: Sequence[Archive], caption_field: str) -> Iterator[str]:
    """Lines for people: captions in a column that is not asked for, and downloads that failed."""
    first = next((archive for archive in archives if archive.kind == "parquet"), None)
    if first is not None and not caption_field and (column := _caption_column(first)):
        yield (
            f"{parquet.named(first.path)[0]}: column {column!r} is carried as a field; "
            f"--caption-field {column} makes it the caption"
        )
    yield from _failed_downloads(archives)


def _caption_column(archive: Archive) -> str:
    from .parquetcolumns import CAPTIONS

    try:
        reader = parquet.Reader(archive)
        try:
            found = reader.columns
        finally:
            reader.close()
    except RunError:  # the scan will say it
        return ""
    return "" if found.text else next((name for name in CAPTIONS if name in found.fields), "")


def _failed_downloads(archives: Sequence[Archive]) -> Iterator[str]:
    """What img2dataset has noted beside the archives, in `<name>_stats.json`: images that it was
    asked for and that are not there."""
    wanted, statuses = 0, Counter[str]()
    for archive in archives:
        for stats in map(_json, _beside(archive)):
            found = stats.get("status_dict")
            if isinstance(stats.get("count"), int) and isinstance(found, dict):
                wanted += stats["count"]
                statuses.update({str(k): v for k, v in found.items() if isinstance(v, int)})
    there = statuses.pop("success", 0)
    if statuses:
        most = [f"{status} {n}" for status, n in statuses.most_common(_SHOWN)]
        more = ", ..." if len(statuses) > _SHOWN else ""
        yield (
            f"img2dataset downloaded {there} of {wanted} images: {', '.join(most)}{more}. "
            "What is not there is no sample and no drop of this export"
        )


def _beside(archive: Archive) -> list[str]:
    path = parquet.named(archive.path)[0]
    if archive.kind == "folder":
        return sorted(glob(os.path.join(escape(path), "*_stats.json")))
    return [] if path.endswith(script.SUFFIX) else [f"{os.path.splitext(path)[0]}_stats.json"]


def _json(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
