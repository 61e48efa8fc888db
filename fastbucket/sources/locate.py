"""From what the user names to archives: files, folders, globs, braces, a list on stdin."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TextIO

from ..catalogue import Archive, text
from ..errors import RunError
from ..kernels.suffixes import IMAGES
from ..public import public
from . import parquet, script
from .address import archives as remote
from .address import is_remote
from .braces import braces
from .packing import BLOCK, SUFFIXES, Unpacked, archive_name, is_tar, packing, why_no_tar
from .splits import assign
from .stream import opened
from .tree import File, files

_UNREAD_SUFFIXES = (".zip", ".7z", ".rar")
"""Names in a folder that say that it was meant to be unpacked."""


def archives(
    sources: Sequence[str | os.PathLike[str]],
    splits: Sequence[tuple[str, str]] = (),
    stdin: TextIO | None = None,
    allow_pipe: bool = False,
) -> list[Archive]:
    """The archives of these sources: by name within each argument, arguments in their order.

    A file or folder that is named twice counts once. allow_pipe: sources may be commands. Raises
    RunError for whatever is missing, is no tar, or cannot be told apart by its name.
    """
    found: list[Archive] = []
    seen: set[str] = set()
    for source in _arguments(sources, stdin):
        for archive in sorted(_expand(source, allow_pipe), key=lambda a: (a.name, a.path)):
            identity = os.path.realpath(archive.path)
            if identity not in seen:
                seen.add(identity)
                found.append(archive)
    if not found:
        raise RunError("no sources: name tar files, folders or patterns, or - for a list on stdin")
    _check_names(found)
    return assign(found, splits)


def _arguments(sources: Sequence[str | os.PathLike[str]], stdin: TextIO | None) -> Iterator[str]:
    for source in sources:
        if source == "-":
            lines = (line.strip() for line in stdin or sys.stdin)
            yield from (line for line in lines if line)
        else:
            yield os.fspath(source)


def _expand(source: str, allow_pipe: bool) -> Iterator[Archive]:
    """The archives of one argument."""
    if is_remote(source) and not os.path.exists(source):
        yield from remote(source, allow_pipe)
        return
    path, column = parquet.named(source)
    if column and not os.path.exists(source):
        named = _expand(path, allow_pipe)
        yield from (replace(found, path=f"{found.path}#{column}") for found in named)
        return
    if os.path.exists(source):
        yield from _at(source)
        return
    for pattern in braces(source):
        if os.path.exists(pattern):
            yield from _at(pattern)
            continue
        matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []
        if not matches:
            what = "matches nothing" if glob.has_magic(pattern) else "does not exist"
            of = "" if pattern == source else f" (of {source})"
            raise RunError(f"source {pattern}{of} {what}")
        for match in matches:
            yield from _at(match)


def _at(path: str) -> list[Archive]:
    """The archives at an existing path."""
    path = os.path.abspath(path)
    try:
        if os.path.isdir(path):
            return _in_folder(path)
        if path.endswith(parquet.SUFFIX):
            return [parquet.located(path)]
        return [_script(path) if path.endswith(script.SUFFIX) else _tar(path)]
    except OSError as error:
        raise RunError(f"source {path}: cannot be read: {error.strerror}") from error


def _in_folder(path: str) -> list[Archive]:
    inside = files(path)
    packed = [f.name for f in inside if os.fsdecode(f.name).lower().endswith(_UNREAD_SUFFIXES)]
    if packed:
        raise _unread(os.path.join(path, os.fsdecode(packed[0])), "such")
    tars = [f.name for f in inside if os.fsdecode(f.name).endswith(SUFFIXES)]
    suffixes = {suffix.encode() for suffix in IMAGES}
    images = sum(f.suffix.lower() in suffixes for f in inside)
    tables = [f.name for f in inside if f.suffix == b"parquet"]
    if (tars or images) and (other := _with_images(path, tables, tars)):
        what = f"{len(tars)} tars" if tars else f"{images} images"
        raise RunError(
            f"source {path}: holds {what}, and images in {other}. Name what is meant with a "
            "pattern, or its folder alone."
        )
    if tars and images:  # whichever was meant, the other would be left out without a word
        raise RunError(
            f"source {path}: holds {len(tars)} tars and {images} images. Name the tars with a "
            f"pattern ({os.path.join(path, '**', '*.tar')}), or the folder of the images alone."
        )
    if tars:
        return [_tar(os.path.join(path, os.fsdecode(name))) for name in tars]
    if images or (not tables and _has_image(path, inside)):
        name = text(os.fsencode(os.path.basename(path))) or "root"
        return [Archive("folder", path, name, "", 0)]
    if tables:
        return [parquet.located(os.path.join(path, os.fsdecode(name))) for name in tables]
    raise RunError(f"source {path}: a folder with neither tars nor images nor Parquet files in it")


def _with_images(path: str, tables: Sequence[bytes], tars: Sequence[bytes]) -> str:
    """The first of these Parquet files beside tars or images that holds images itself, or "": most
    describe what they lie beside, as those of img2dataset, and of an export's meta/."""
    described = {name.removesuffix(b".tar") + b".parquet" for name in tars}
    others = (os.path.join(path, os.fsdecode(t)) for t in tables if t not in described)
    return next(filter(parquet.holds_images, others), "")


def _has_image(path: str, inside: Iterable[File]) -> bool:
    """Whether a folder without any image suffix holds an image all the same."""
    import numpy as np

    from ..kernels.signature import signature

    for file in inside:
        with open(os.path.join(os.fsencode(path), file.name), "rb") as opened:
            start = np.frombuffer(opened.read(128), np.uint8)
        if signature(start, 0, len(start)):
            return True
    return False


def _script(path: str) -> Archive:
    name = text(os.fsencode(os.path.basename(path))).removesuffix(script.SUFFIX)
    return Archive("script", path, name, "", os.stat(path).st_size)


def _tar(path: str) -> Archive:
    """The archive of a tar file, whose first block has been looked at."""
    with open(path, "rb") as file:
        block = file.read(BLOCK)
        size = os.fstat(file.fileno()).st_size
    name = archive_name(text(os.fsencode(path)))
    how = packing(block)
    if how == "zip":
        raise _unread(path, how)
    archive = Archive("stream" if how else "tar", path, name, "", size)
    if how:
        with closing(opened(archive)) as stream:
            block = _first(stream)
    if not is_tar(block):
        hint = ""
        if path.rpartition(".")[2].lower() in IMAGES:
            hint = " A single image is no source: name the folder that it is in."
        inside = f" (what its {how} data holds)" if how else ""
        raise RunError(f"source {path}: not a tar: {why_no_tar(block)}{inside}.{hint}")
    return archive


def _first(stream: Unpacked) -> bytes:
    """The first block of a tar."""
    block = b""
    while len(block) < BLOCK and (more := stream.read(BLOCK - len(block))):
        block += more
    return block


def _unread(path: str, how: str) -> RunError:
    return RunError(
        f"source {path}: {how} archives are not read. Unpack it, and name what was in it."
    )


def _check_names(found: Iterable[Archive]) -> None:
    """Names are the first part of every image_id: two archives of one name would clash."""
    paths: dict[str, str] = {}
    for archive in found:
        other = paths.setdefault(archive.name, archive.path)
        if other != archive.path:
            raise RunError(
                f"two archives are named {archive.name}: {public(other)} and "
                f"{public(archive.path)}. The name is part of every image_id: rename one of them."
            )
