"""A file that is hashed in the same pass in which it is parsed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType

_WINDOW = 1 << 20
"""Bytes read at a time: several samples, and what was just hashed is still in the cache."""


class HashedFile:
    """A file for tarfile to read: read, seek, tell. Every byte is hashed once, in order.

    Raises OSError as the system does.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._fd).st_size
        self._hash = hashlib.sha256()
        self._buffer = memoryview(bytearray(_WINDOW))  # reused: fresh memory costs page faults
        self._window = self._buffer[:0]
        self._end = 0  # position behind the window: all before it is hashed
        self._at = 0
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> int:
        self._at = position
        return position

    def read(self, size: int) -> bytes:
        """`size` bytes from here on, fewer at the end of the file."""
        data = self.at(self._at, size)
        self._at += len(data)
        return data

    def at(self, position: int, size: int) -> bytes:
        """`size` bytes from `position` on, fewer at the end of the file."""
        inside = position - self._end + len(self._window)
        if inside >= 0 and position + size <= self._end:  # nearly always
            return bytes(self._window[inside : inside + size])
        parts: list[bytes] = []
        while size > 0:
            while self._end <= position and self._advance():
                pass
            inside = position - self._end + len(self._window)
            if inside < 0:  # before the window: a jump back, which only a damaged tar asks for
                part = os.pread(self._fd, min(size, -inside), position)
            else:
                part = bytes(self._window[inside : inside + size])
            if not part:
                break
            parts.append(part)
            position += len(part)
            size -= len(part)
        return b"".join(parts)

    def _advance(self) -> bool:
        self._window = self._buffer[: os.preadv(self._fd, [self._buffer], self._end)]
        self._hash.update(self._window)
        self._end += len(self._window)
        return bool(self._window)

    def sha256(self) -> str:
        """SHA-256 of the whole file in hex; reads what has not been read yet."""
        while self._advance():
            pass
        return self._hash.hexdigest()
