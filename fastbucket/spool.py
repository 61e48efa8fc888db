"""What streams hold for the buckets, as local tars in the state folder, for as long as that lasts.

A stream is read once. What the recipe would export of it, as far as its header tells, is copied to
a tar of its own; the catalogue has the offsets there, and the sizes of everything, so that whoever
plans, exports or counts does not know the difference. Rows that were not copied have no offset.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import xxhash

from . import commit
from .catalogue import COLUMNS, Archive, Catalogue, column
from .errors import RunError, StreamError
from .format import SPOOL, STATE
from .progress import At
from .public import public
from .recipe import Recipe
from .sidecar import SIDECAR_LIMIT
from .sources import stream
from .sources.names import member_name

MARGIN = 1 << 30
"""Bytes that a spool leaves free on its disk: other things are written there, the export as a rule.
In place of a limit that people would have to guess."""

_PARTS = ("image", "text", "json", "class")

_COPY = 1 << 20


def placed(archives: Sequence[Archive], out: Path) -> list[Archive]:
    """The archives, streams with the place of their spool."""
    return [
        replace(archive, spool=str(_folder(out) / f"{_name(archive)}.tar"))
        if archive.kind == "stream"
        else archive
        for archive in archives
    ]


def _name(archive: Archive) -> str:
    return xxhash.xxh64_hexdigest(os.fsencode(archive.identity))


def _folder(out: Path) -> Path:
    return out / STATE / SPOOL


def prepare(
    out: Path,
    archives: Sequence[Archive],
    elsewhere: str,
    say: Callable[[str], None],
    shared: bool = False,
) -> None:
    """The folder for the spool, if there are streams. elsewhere: a folder on a larger disk, in
    which it is to lie; "": in the state. What is half done already stays where it is. shared: with
    other machines, which may be at work there.

    Raises RunError where it cannot be made.
    """
    if not any(archive.spool for archive in archives):
        return
    folder = _folder(out)
    if shared and elsewhere:
        raise RunError("--spool: the parts of an export share the spool, which lies in their OUT")
    try:
        if elsewhere:
            name = xxhash.xxh64_hexdigest(os.fsencode(out.resolve()))
            place = Path(elsewhere).resolve() / f"fastbucket-{name}"
            gone = folder.is_symlink() and not folder.exists()
            if (gone or folder.is_dir()) and folder.resolve() != place:
                if not gone and any(folder.iterdir()):
                    say(f"the spool stays in {folder.resolve()}, where it was begun")
                    return
                folder.unlink() if folder.is_symlink() else folder.rmdir()
            place.mkdir(parents=True, exist_ok=True)
            if not folder.is_symlink():
                folder.symlink_to(place)
        elif folder.is_symlink():
            folder.resolve().mkdir(parents=True, exist_ok=True)
        else:
            folder.mkdir(exist_ok=True)
        for left in () if shared else folder.glob(f".*{commit.TEMPORARY}"):
            left.unlink()
    except OSError as error:
        raise commit.output_error(Path(elsewhere or folder), error) from None


def size(archives: Sequence[Archive], say: Callable[[str], None]) -> int:
    """Bytes of the whole spool; says so."""
    paths = [Path(archive.spool) for archive in archives if archive.spool]
    total = sum(path.stat().st_size for path in paths)
    if paths:
        say(
            f"spool: {total / 1e6:,.1f} MB of {len(paths):,} streams in {paths[0].parent.resolve()}"
            ", until the export is complete"
        )
    return total


def serves(archive: Archive, table: pa.Table, recipe: Recipe) -> bool:
    """Whether the spool of a scanned stream is whole, and holds all that this recipe wants."""
    path = Path(archive.spool)
    extra = json.loads((table.schema.metadata or {}).get(b"extra", b"{}"))
    if not path.is_file() or path.stat().st_size != extra.get("spooled"):
        return False
    wanted = _wanted(archive, table, recipe)
    return bool((column(table, "image_offset")[wanted] >= 0).all())


def take(archive: Archive, recipe: Recipe, at: At) -> Catalogue:
    """Read a stream to its end: its catalogue, and its spool, whole or not at all.

    Raises StreamError where the stream cannot be had whole, RunError where two samples have one
    key or where there is no room.
    """
    from .sources import probe, streamscan

    path = Path(archive.spool)
    opened = stream.opened(archive, at)
    try:
        with commit.whole(path) as unfinished, open(unfinished, "wb") as file:
            with tempfile.TemporaryFile(dir=path.parent) as scratch:
                scanned = streamscan.StreamScan(
                    public(archive.path),
                    opened,
                    scratch.fileno(),
                    at,
                    partial(_check_room, path.parent),
                )
                batches = [
                    _spool(archive, batch, file, recipe, path.parent) for batch in scanned.batches()
                ]
            file.write(bytes(2 * tarfile.BLOCKSIZE))
            spooled = file.tell()
            columns = _joined(batches)
            probe.check_unique(public(archive.path), columns["key"], columns["suffix"])
    finally:
        opened.close()
    return Catalogue(columns, scanned.broken, {**scanned.extra, "spooled": spooled})


def _wanted(archive: Archive, table: pa.Table, recipe: Recipe) -> np.ndarray:
    """Which rows an export may read: those that are planned where nothing but their headers counts.
    bool (n,)."""
    if not table.num_rows:
        return np.zeros(0, np.bool_)
    from . import planning

    return np.asarray(planning.make([archive], [table], _by_header(recipe)).reason == 0)


def _by_header(recipe: Recipe) -> Recipe:
    """The recipe without the rules that read sources, or look at other samples: they drop more,
    and what they drop they have to read first."""
    return replace(
        recipe, duplicates="keep", missing_caption_policy="keep", carry=("none",), min_bucket=0
    )


def _spool(
    archive: Archive, batch: Any, file: IO[bytes], recipe: Recipe, folder: Path
) -> dict[str, Any]:
    """Copy what is wanted of a batch to the spool. Returns its columns, with offsets there."""
    columns = batch.columns
    wanted = _wanted(archive, Catalogue(columns).table(), recipe)
    sizes = {part: np.asarray(columns[f"{part}_size"]) for part in _PARTS}
    copied = {
        part: wanted & (size > 0) & ((part == "image") | (size <= SIDECAR_LIMIT))
        for part, size in sizes.items()
    }
    _check_room(folder, sum(int(sizes[part][copied[part]].sum()) for part in _PARTS))
    offsets = {part: np.full(len(wanted), -1, np.int64) for part in _PARTS}
    for row in np.flatnonzero(wanted).tolist():
        key, suffix = columns["key"][row].as_py(), columns["suffix"][row].as_py()
        for part in _PARTS:
            if copied[part][row]:
                start, length = int(columns[f"{part}_offset"][row]), int(sizes[part][row])
                file.write(_header(member_name(key, suffix, part), length))
                offsets[part][row] = file.tell()
                _copy(batch.descriptor, start, length, file, public(archive.path))
    return {**columns, **{f"{part}_offset": offsets[part] for part in _PARTS}}


def _header(name: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _copy(descriptor: int, start: int, size: int, file: IO[bytes], name: str) -> None:
    """Copy a member's data, and fill up its last block."""
    end = start + size
    while start < end:
        data = os.pread(descriptor, min(_COPY, end - start), start)
        if not data:
            raise StreamError(f"{name}: its scratch file has become shorter; start again")
        file.write(data)
        start += len(data)
    file.write(bytes(-size % tarfile.BLOCKSIZE))


def _check_room(folder: Path, more: int) -> None:
    free = shutil.disk_usage(folder).free
    if free - more < MARGIN:
        raise RunError(
            f"the spool in {folder.resolve()} has no room: {free / 1e9:.1f} GB are free, and "
            f"{MARGIN / 1e9:.1f} GB are to stay so. Make room, and the same command goes on with "
            "the archives that are missing; or begin with --overwrite --spool DIR, on a larger disk"
        )


def _joined(batches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The columns of all batches, one after the other; of none, empty ones."""
    if not batches:
        return {name: pa.array([], kind) for name, kind in COLUMNS.items()}
    return {name: _concatenated([batch[name] for batch in batches]) for name in batches[0]}


def _concatenated(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], pa.Array):
        return pa.concat_arrays(parts)
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [value for part in parts for value in part]
