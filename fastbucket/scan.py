"""The scan of all archives: one task an archive, one catalogue file each."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from . import catalogue, spool
from .catalogue import Archive
from .engines import Engine
from .errors import RunError, StreamError
from .format import STATE
from .parts import Part
from .progress import Progress, Reporter
from .public import public
from .recipe import Recipe
from .sources import KINDS
from .sources.address import PIPE

_FAILED_SHOWN = 5


class ScanTask:
    """A job: scan one archive and write its catalogue. Task: (archive, path, stamp); positions are
    those of its images. Returns "", or why its stream cannot be had whole.

    Where other machines scan as well (there is a fence then) an archive that one of them has done
    meanwhile is left out.
    """

    def __init__(self, setup: dict[str, Any]) -> None:
        self._shared = "fence" in setup
        self._recipe = Recipe.from_json(setup.get("recipe", {}))
        self._allow_pipe = bool(setup.get("allow_pipe"))

    def __call__(self, task: tuple[Archive, Path, str], report: Reporter) -> str:
        archive, path, stamp = task
        if self._shared and path.exists():
            if _is_done(archive, catalogue.read(path, stamp), self._recipe):
                return ""
            path.unlink(missing_ok=True)  # damaged, since the stamp is part of its name
        if archive.path.startswith(PIPE) and not self._allow_pipe:
            # It was allowed when the archive was named; a folder of somebody else's names it, too.
            raise RunError(
                f"{archive.path}: it has to be read, which runs a command in a shell. The same "
                "export with --allow-pipe, and without --shards, does and completes it"
            )
        if not archive.spool:
            found = KINDS[archive.kind].scan(archive, report.at)
        else:
            try:
                found = spool.take(archive, self._recipe, report.at)
            except StreamError as error:
                return str(error)
        report.at(None)
        found.write(path, stamp, once=self._shared)
        return ""


def _catalogue_path(out: Path, archive: Archive, stamp: str) -> Path:
    """The stamp is part of the name, so that a file is never replaced by one of another state: who
    has mapped it, on another machine it may be, goes on reading it."""
    told = f"{archive.identity} {stamp} {catalogue.VERSION}"
    name = xxhash.xxh64_hexdigest(os.fsencode(told))
    return out / STATE / "catalogue" / f"{name}.arrow"


def _describe(task: tuple[Archive, Path, str], position: int | None) -> str:
    path = public(task[0].path)
    return f"scan of {path}" if position is None else f"image {position} of {path}"


def _is_done(archive: Archive, table: pa.Table | None, recipe: Recipe | None) -> bool:
    if table is None or not archive.spool or recipe is None:
        return table is not None
    return spool.serves(archive, table, recipe)


def scan(
    out: Path,
    archives: Sequence[Archive],
    stamps: Mapping[str, str],
    engine: Engine,
    progress: Progress,
    part: Part | None = None,
    recipe: Recipe | None = None,
) -> list[pa.Table]:
    """The catalogue of every archive, scanned now or by an earlier run; mapped, not in memory.

    stamps: path of each archive -> the state that it must be of. part: others scan at the same
    time. It begins with its share and goes on with what is still missing then, in an order of its
    own, so that parts that never start are not waited for and those that run rarely meet. recipe:
    that by which streams are spooled. Raises RunError, when all others are scanned, where a stream
    cannot be had whole.
    """
    wanted = [stamps[archive.path] for archive in archives]
    paths = [
        _catalogue_path(out, archive, stamp)
        for archive, stamp in zip(archives, wanted, strict=True)
    ]
    tasks = list(zip(archives, paths, wanted, strict=True))
    missing = [
        at
        for at, (archive, path, stamp) in enumerate(tasks)
        if not _is_done(archive, catalogue.read(path, stamp), recipe)
    ]
    if part is not None:
        random.Random(part.number).shuffle(missing)
        missing.sort(key=part.owns, reverse=True)
    progress.phase("scan", len(missing), "archives")
    todo = [tasks[at] for at in missing]
    failed: list[str] = []
    for _, failure in engine.map("fastbucket.scan:ScanTask", todo, describe=_describe):
        progress.advance(1)
        failed += [failure] if failure else []
    if failed:
        more = f" (and {len(failed) - _FAILED_SHOWN} more)" if len(failed) > _FAILED_SHOWN else ""
        raise RunError("\n".join(failed[:_FAILED_SHOWN]) + more)
    tables = [catalogue.read(path, stamp) for path, stamp in zip(paths, wanted, strict=True)]
    for archive, table in zip(archives, tables, strict=True):
        if table is None:
            raise RunError(f"{public(archive.path)} changed while it was scanned; start again")
    return [table for table in tables if table is not None]
