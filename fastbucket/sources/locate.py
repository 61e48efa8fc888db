"""From what the user names to archives: files, folders, globs, braces, a list on stdin."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TextIO

from ..catalogue import Archive, text
from ..errors import RunError
from ..kernels.suffixes import IMAGES
from . import parquet, script
from .braces import braces
from .splits import assign
from .tree import File, files

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}
_COMPRESSED_SUFFIXES = (".gz", ".tgz", ".bz2", ".tbz", ".xz", ".txz", ".zst", ".lz4", ".zip")
_BLOCK = 512


def archives(
    sources: Sequence[str | os.PathLike[str]],
    splits: Sequence[tuple[str, str]] = (),
    stdin: TextIO | None = None,
) -> list[Archive]:
    """The archives of these sources: by name within each argument, arguments in their order.

    A file or folder that is named twice counts once. Raises RunError for whatever is missing, is
    no tar, or cannot be told apart by its name.
    """
    found: list[Archive] = []
    seen: set[str] = set()
    for source in _arguments(sources, stdin):
        for archive in sorted(_expand(source), key=lambda a: (a.name, a.path)):
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


def _expand(source: str) -> Iterator[Archive]:
    """The archives of one argument."""
    _check_local(source)
    path, column = parquet.named(source)
    if column and not os.path.exists(source):
        yield from (replace(found, path=f"{found.path}#{column}") for found in _expand(path))
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


def _check_local(source: str) -> None:
    scheme = source.partition(":")[0]
    if "://" in source or scheme == "pipe":
        raise RunError(
            f"source {source}: {scheme}: is not supported yet. Download the tars to a local disk "
            "first, and name them there."
        )


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
    packed = [f.name for f in inside if os.fsdecode(f.name).lower().endswith(_COMPRESSED_SUFFIXES)]
    if packed:
        raise _compressed(os.path.join(path, os.fsdecode(packed[0])), "compressed")
    tars = [f.name for f in inside if f.suffix == b"tar"]
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
        block = file.read(_BLOCK)
        size = os.fstat(file.fileno()).st_size
    for signature, name in _COMPRESSED.items():
        if block.startswith(signature):
            raise _compressed(path, name)
    name = os.path.basename(path)
    if not _is_tar(block):
        hint = ""
        if name.rpartition(".")[2].lower() in IMAGES:
            hint = " A single image is no source: name the folder that it is in."
        raise RunError(f"source {path}: not a tar: {_why(block)}.{hint}")
    return Archive("tar", path, text(os.fsencode(name)).removesuffix(".tar"), "", size)


def _compressed(path: str, how: str) -> RunError:
    return RunError(
        f"source {path}: {how} archives are not supported yet: a tar that is read at any offset "
        "must be plain, and images hardly shrink. Unpack it to a .tar first."
    )


def _is_tar(block: bytes) -> bool:
    """Whether a first block is a header with a right checksum, or the end of an empty tar."""
    if len(block) < _BLOCK:
        return False
    if not any(block):
        return True
    try:
        stored = int(block[148:156].split(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    signed = sum(rest) - 256 * sum(byte >= 128 for byte in rest)
    return stored in (sum(rest), signed)


def _why(block: bytes) -> str:
    if not block:
        return "the file is empty"
    if len(block) < _BLOCK:
        return f"the file has {len(block)} bytes, a header has {_BLOCK}"
    return "its first 512 bytes are no tar header"


def _check_names(found: Iterable[Archive]) -> None:
    """Names are the first part of every image_id: two archives of one name would clash."""
    paths: dict[str, str] = {}
    for archive in found:
        other = paths.setdefault(archive.name, archive.path)
        if other != archive.path:
            raise RunError(
                f"two archives are named {archive.name}: {other} and {archive.path}. The name is "
                "part of every image_id: rename one of them."
            )
