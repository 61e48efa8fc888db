"""Images of an export, out of its shards, one at a time and at an offset."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from ..errors import RunError
from ..format import MEMBERS, TAR_BLOCK, TAR_END, shard_path
from ..sources import pread
from .store import Sample

_NAME, _SIZE, _MAGIC = slice(0, 100), slice(124, 136), slice(257, 262)


class Images:
    """The images of an export, for one who asks in the order of the shards.

    Keeps one shard open, and of it where each sample begins as far as was asked for; a shard that
    is replaced meanwhile is read to its end as it was. May be called from several threads, one at
    a time gets through. Raises RunError for a shard that is not what the workspace says.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._shard: _Shard | None = None

    def read(self, sample: Sample) -> bytes:
        """The .jpg member of the sample, as it is stored."""
        path = self._out / shard_path(sample.bucket_id, sample.shard)
        with self._lock:
            if self._shard is None or self._shard.path != path:
                self._close()
                self._shard = _Shard(path)
            return self._shard.read(sample)

    def _close(self) -> None:
        if self._shard is not None:
            self._shard.close()
            self._shard = None

    def close(self) -> None:
        with self._lock:
            self._close()


class _Shard:
    """One open shard. Its headers are walked only as far as a sample is asked for: three reads of
    512 bytes a sample, which is nothing beside the request that follows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begins = [0]  # offset of each sample's first header, and of the next to be walked
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RunError(
                f"{path}: cannot be opened: {error.strerror}; if the export was made anew, run "
                "fastbucket captions init again"
            ) from None

    def close(self) -> None:
        os.close(self._descriptor)

    def read(self, sample: Sample) -> bytes:
        while len(self._begins) <= sample.position:
            at = self._begins[-1]
            for _ in MEMBERS:
                at = self._member(at)[2]
            self._begins.append(at)
        name, size, _ = self._member(self._begins[sample.position])
        if name != f"{sample.key}.{MEMBERS[0]}":
            raise RunError(
                f"{self.path}: sample {sample.position} is {name!r}, captions.sqlite says "
                f"{sample.key}; run fastbucket captions init again"
            )
        return bytes(self._read(self._begins[sample.position] + TAR_BLOCK, size))

    def _member(self, at: int) -> tuple[str, int, int]:
        """Name and size in bytes of the member whose header is at `at`, and the next header."""
        header = bytes(self._read(at, TAR_BLOCK))
        if header == TAR_END[:TAR_BLOCK]:
            raise RunError(
                f"{self.path}: {len(self._begins) - 1} samples, captions.sqlite knows of more; run "
                "fastbucket captions init again"
            )
        try:
            if header[_MAGIC] != b"ustar":
                raise ValueError
            size = int(header[_SIZE].rstrip(b"\0 "), 8)
            name = header[_NAME].rstrip(b"\0").decode()
        except ValueError:
            raise RunError(
                f"{self.path}: no tar header at byte {at}; fastbucket verify says more"
            ) from None
        return name, size, at + TAR_BLOCK + -(-size // TAR_BLOCK) * TAR_BLOCK

    def _read(self, at: int, size: int) -> memoryview:
        return pread.read(self._descriptor, str(self.path), at, size, bytearray())
