"""The files below a folder, hidden ones left out, symlinks followed but not in circles."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import RunError


class File(NamedTuple):
    name: bytes  # relative path, with forward slashes
    size: int  # bytes
    mtime_ns: int

    @property
    def suffix(self) -> bytes:
        """What follows the last dot of the base name, as it stands; b"" where there is none."""
        return self.name.rpartition(b"/")[2].rpartition(b".")[2] if self.has_dot else b""

    @property
    def has_dot(self) -> bool:
        return b"." in self.name.rpartition(b"/")[2]

    @property
    def key(self) -> bytes:
        """The relative path without its last extension."""
        return self.name.rpartition(b".")[0] if self.has_dot else self.name


def files(root: str) -> list[File]:
    """All of them, in the order of the bytes of their relative paths. Raises RunError."""
    try:
        return sorted(_walk(os.fsencode(root), b"", ()))
    except OSError as error:
        raise RunError(f"{root}: cannot be read: {error}") from error


def _walk(folder: bytes, prefix: bytes, above: tuple[tuple[int, int], ...]) -> Iterator[File]:
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:  # a symlink to a folder above itself
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(b"."):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, prefix + entry.name + b"/", (*above, here))
            elif entry.is_file():
                status = entry.stat()
                yield File(prefix + entry.name, status.st_size, status.st_mtime_ns)
