"""Local tar files, uncompressed: scanned in place, read at an offset."""

from __future__ import annotations

import os

from ..catalogue import Archive, Catalogue, text
from ..errors import RunError
from ..progress import At, unwatched
from . import pread


def scan(archive: Archive, at: At = unwatched) -> Catalogue:
    """Every sample of the tar by its headers; see `tarscan`."""
    from . import tarscan

    return tarscan.scan(archive, at)


def stamp(archive: Archive) -> str:
    """Size and time of the last change."""
    try:
        status = os.stat(archive.path)
    except OSError as error:
        raise RunError(f"{archive.path}: {error.strerror}") from error
    return f"{status.st_size}-{status.st_mtime_ns}"


def listing(archive: Archive) -> str:
    """Name, size and split."""
    return f"{archive.name}\t{archive.size}\t{archive.split}"


class Reader:
    """Reads members of one tar, which stays open."""

    from_disk = True

    def __init__(self, archive: Archive) -> None:
        self._path = archive.path
        try:
            self._descriptor = os.open(archive.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RunError(f"{archive.path}: cannot be opened: {error.strerror}") from error

    def read(self, name: str | bytes, offset: int, size: int, into: bytearray) -> memoryview:
        """`size` bytes at `offset` of the tar; the member's name is for messages only."""
        member = name if isinstance(name, str) else text(name)
        return pread.read(self._descriptor, f"{self._path}: {member}", offset, size, into)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
