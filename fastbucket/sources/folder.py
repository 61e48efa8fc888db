"""A folder of images: each is one sample, with .txt, .json and .cls of the same stem beside it."""

from __future__ import annotations

import os
from collections.abc import Iterable

import xxhash

from ..catalogue import Archive, Catalogue, text
from ..errors import RunError
from ..progress import At, unwatched
from . import pread
from .tree import files


def scan(archive: Archive, at: At = unwatched) -> Catalogue:
    """Every image of the folder by its header; see `folderscan`."""
    from . import folderscan

    return folderscan.scan(archive, at)


def stamp(archive: Archive) -> str:
    """A digest of relative paths, sizes and times of all files."""
    return _digest(b"%b\0%d\0%d\n" % file for file in files(archive.path))


def listing(archive: Archive) -> str:
    """Name, split, and a digest of relative paths and sizes."""
    digest = _digest(b"%b\0%d\n" % file[:2] for file in files(archive.path))
    return f"{archive.name}\t{digest}\t{archive.split}"


def _digest(lines: Iterable[bytes]) -> str:
    state = xxhash.xxh3_128()
    for line in lines:
        state.update(line)
    return state.hexdigest()


class Reader:
    """Reads files of the folder, each opened anew."""

    from_disk = True

    def __init__(self, archive: Archive) -> None:
        self._root = os.fsencode(archive.path)

    def read(self, name: str | bytes, offset: int, size: int, into: bytearray) -> memoryview:
        """`size` bytes at `offset` of the file with the relative path `name`."""
        path = os.path.join(self._root, os.fsencode(name))
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RunError(f"{text(path)}: cannot be opened: {error.strerror}") from error
        try:
            return pread.read(descriptor, text(path), offset, size, into)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Nothing stays open."""
