"""The digests by which stores tell what they hold, of files that lie here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

BLOCK = 1 << 20
"""Bytes read at once."""

PART = 16 << 20
"""Bytes of a part of an object that is sent in parts."""

_MOST_PARTS = 10_000
"""S3 takes no more."""


class Digest(Protocol):
    """What hashlib gives, and Etag."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def part_bytes(size: int) -> int:
    """Bytes of a part for a file of so many; a file below two parts goes in one piece."""
    return max(PART, -(-size // (_MOST_PARTS * BLOCK)) * BLOCK)


class Etag:
    """S3's ETag of a file of `size` bytes: its MD5, or that of the MD5s of its parts with their
    number behind it, where it goes up in parts of part_bytes."""

    def __init__(self, size: int) -> None:
        self._part = part_bytes(size)
        self._parts: list[bytes] = []
        self._single = size < 2 * self._part
        self._current = md5()
        self._room = self._part

    def update(self, data: bytes, /) -> None:
        if self._single:
            self._current.update(data)
            return
        view = memoryview(data)
        while view:
            piece = view[: self._room]
            self._current.update(piece)
            self._room -= len(piece)
            view = view[len(piece) :]
            if not self._room:
                self._close()

    def hexdigest(self) -> str:
        if self._single:
            return self._current.hexdigest()
        if self._room < self._part:
            self._close()
        return f"{md5(b''.join(self._parts)).hexdigest()}-{len(self._parts)}"

    def _close(self) -> None:
        self._parts.append(self._current.digest())
        self._current, self._room = md5(), self._part


def md5(data: bytes = b"") -> hashlib._Hash:
    """For comparison with what others tell, and no secret."""
    return hashlib.md5(data, usedforsecurity=False)


def git_blob(size: int) -> hashlib._Hash:
    """The id of a blob in git, of so many bytes that follow."""
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def read(path: Path, *digests: Digest) -> None:
    """Read a file once into all of them. Raises OSError."""
    with open(path, "rb") as file:
        for block in blocks(file):
            for digest in digests:
                digest.update(block)


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block
