"""The scan of all archives: one task an archive, one catalogue file each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from . import catalogue, spool
from .catalogue import Archive
from .engines.local import Local
from .errors import RunError, StreamError
from .format import STATE
from .progress import Progress, Reporter
from .recipe import Recipe
from .sources import KINDS

_FAILED_SHOWN = 5


class ScanTask:
    """A job: scan one archive and write its catalogue. Task: (archive, path, stamp); positions are
    those of its images. Returns "", or why its stream cannot be had whole."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._recipe = setup.get("recipe", {})

    def __call__(self, task: tuple[Archive, Path, str], report: Reporter) -> str:
        archive, path, stamp = task
        if not archive.spool:
            found = KINDS[archive.kind].scan(archive, report.at)
        else:
            try:
                found = spool.take(archive, Recipe.from_json(self._recipe), report.at)
            except StreamError as error:
                return str(error)
        report.at(None)
        found.write(path, stamp)
        return ""


def _catalogue_path(out: Path, archive: Archive) -> Path:
    name = xxhash.xxh64_hexdigest(os.fsencode(archive.identity))
    return out / STATE / "catalogue" / f"{name}.arrow"


def _describe(task: tuple[Archive, Path, str], position: int | None) -> str:
    path = task[0].path
    return f"scan of {path}" if position is None else f"image {position} of {path}"


def _is_done(archive: Archive, table: pa.Table | None, recipe: Recipe | None) -> bool:
    if table is None or not archive.spool or recipe is None:
        return table is not None
    return spool.serves(archive, table, recipe)


def scan(
    out: Path,
    archives: Sequence[Archive],
    stamps: Mapping[str, str],
    engine: Local,
    progress: Progress,
    recipe: Recipe | None = None,
) -> list[pa.Table]:
    """The catalogue of every archive, scanned now or by an earlier run; mapped, not in memory.

    stamps: path of each archive -> the state that it must be of. recipe: that by which streams are
    spooled. Raises RunError, when all others are scanned, where a stream cannot be had whole.
    """
    wanted = [stamps[archive.path] for archive in archives]
    paths = [_catalogue_path(out, archive) for archive in archives]
    missing = [
        (archive, path, stamp)
        for archive, path, stamp in zip(archives, paths, wanted, strict=True)
        if not _is_done(archive, catalogue.read(path, stamp), recipe)
    ]
    progress.phase("scan", len(missing), "archives")
    failed: list[str] = []
    for _, failure in engine.map("fastbucket.scan:ScanTask", missing, describe=_describe):
        progress.advance(1)
        failed += [failure] if failure else []
    if failed:
        more = f" (and {len(failed) - _FAILED_SHOWN} more)" if len(failed) > _FAILED_SHOWN else ""
        raise RunError("\n".join(failed[:_FAILED_SHOWN]) + more)
    tables = [catalogue.read(path, stamp) for path, stamp in zip(paths, wanted, strict=True)]
    for archive, table in zip(archives, tables, strict=True):
        if table is None:
            raise RunError(f"{archive.path} changed while it was scanned; start again")
    return [table for table in tables if table is not None]
