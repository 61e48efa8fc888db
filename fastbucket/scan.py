"""The scan of all archives: one task an archive, one catalogue file each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from . import catalogue
from .catalogue import Archive
from .engines.local import Local
from .errors import RunError
from .format import STATE
from .progress import Progress, Reporter
from .sources import KINDS


class ScanTask:
    """A job: scan one archive and write its catalogue. Task: (archive, path, stamp); positions are
    those of its images."""

    def __init__(self, setup: dict[str, Any]) -> None: ...

    def __call__(self, task: tuple[Archive, Path, str], report: Reporter) -> int:
        archive, path, stamp = task
        found = KINDS[archive.kind].scan(archive, report.at)
        report.at(None)
        found.write(path, stamp)
        return len(found)


def _catalogue_path(out: Path, archive: Archive) -> Path:
    name = xxhash.xxh64_hexdigest(os.fsencode(f"{archive.kind} {archive.path}"))
    return out / STATE / "catalogue" / f"{name}.arrow"


def _describe(task: tuple[Archive, Path, str], position: int | None) -> str:
    path = task[0].path
    return f"scan of {path}" if position is None else f"image {position} of {path}"


def scan(
    out: Path,
    archives: Sequence[Archive],
    stamps: Mapping[str, str],
    engine: Local,
    progress: Progress,
) -> list[pa.Table]:
    """The catalogue of every archive, scanned now or by an earlier run; mapped, not in memory.

    stamps: path of each archive -> the state that it must be of.
    """
    wanted = [stamps[archive.path] for archive in archives]
    paths = [_catalogue_path(out, archive) for archive in archives]
    missing = [
        (archive, path, stamp)
        for archive, path, stamp in zip(archives, paths, wanted, strict=True)
        if catalogue.read(path, stamp) is None
    ]
    progress.phase("scan", len(missing), "archives")
    for _ in engine.map("fastbucket.scan:ScanTask", missing, describe=_describe):
        progress.advance(1)
    tables = [catalogue.read(path, stamp) for path, stamp in zip(paths, wanted, strict=True)]
    for archive, table in zip(archives, tables, strict=True):
        if table is None:
            raise RunError(f"{archive.path} changed while it was scanned; start again")
    return [table for table in tables if table is not None]
