"""Samples of an export, out of its shards, one at a time and at an offset."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import NamedTuple, Protocol

from .errors import RunError
from .format import MEMBERS, TAR_BLOCK, TAR_END, shard_path
from .sources import pread

_NAME, _SIZE, _MAGIC = slice(0, 100), slice(124, 136), slice(257, 262)

_WINDOW = 4096
"""Bytes read where a header is wanted. The end of one image, its text, its JSON and the header of
the next image lie together, so that walking over a sample is one read and no seek more."""


class Placed(Protocol):
    """A sample at index `position` of buckets/<bucket_id>/shard-<shard>.tar. key: "" unknown."""

    @property
    def bucket_id(self) -> str: ...
    @property
    def shard(self) -> int: ...
    @property
    def position(self) -> int: ...
    @property
    def key(self) -> str: ...


class Place(NamedTuple):
    """A `Placed` that is nothing else. Places sort in the order in which shards are read."""

    bucket_id: str
    shard: int
    position: int
    key: str = ""


class Members(NamedTuple):
    """The members of a sample as they are stored, in the order of format.MEMBERS; and its key."""

    jpg: bytes
    txt: bytes
    json: bytes
    key: str


class Images:
    """The samples of an export, for one who asks in the order of the shards.

    Keeps one shard open, and of it where each sample begins as far as was asked for; a shard that
    is replaced meanwhile is read to its end as it was. May be called from several threads, one at
    a time gets through. Raises RunError for a shard that is missing, damaged, or holds another
    key at that place than was asked for; said_by, remedy: who named the places, and what to do.
    """

    def __init__(
        self,
        out: Path,
        said_by: str = "captions.sqlite",
        remedy: str = "run fastbucket captions init again",
    ) -> None:
        self._out = out
        self._said_by, self._remedy = said_by, remedy
        self._lock = threading.Lock()
        self._shard: _Shard | None = None

    def read(self, sample: Placed) -> bytes:
        """The .jpg member of the sample."""
        with self._lock:
            return self._open(sample).image(sample)

    def members(self, sample: Placed) -> Members:
        """All members of the sample."""
        with self._lock:
            return self._open(sample).members(sample)

    def _open(self, sample: Placed) -> _Shard:
        path = self._out / shard_path(sample.bucket_id, sample.shard)
        if self._shard is None or self._shard.path != path:
            self._close()
            self._shard = _Shard(path, self._said_by, self._remedy)
        return self._shard

    def _close(self) -> None:
        if self._shard is not None:
            self._shard.close()
            self._shard = None

    def close(self) -> None:
        with self._lock:
            self._close()


class _Shard:
    """One open shard. Its headers are walked only as far as a sample is asked for."""

    def __init__(self, path: Path, said_by: str, remedy: str) -> None:
        self.path = path
        self._said_by, self._remedy = said_by, remedy
        self._begins = [0]  # offset of each sample's first header, and of the next to be walked
        self._window, self._window_at = b"", 0
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RunError(
                f"{path}: cannot be opened: {error.strerror}; if the export was made anew, {remedy}"
            ) from None

    def close(self) -> None:
        os.close(self._descriptor)

    def image(self, sample: Placed) -> bytes:
        at, size = self._find(sample)
        return self._content(at, size)

    def members(self, sample: Placed) -> Members:
        at, _ = self._find(sample)
        found, key = [], ""
        for suffix in MEMBERS:
            name, size, following = self._member(at)
            if not name.endswith(f".{suffix}"):
                raise RunError(
                    f"{self.path}: sample {sample.position} has {name!r} where its .{suffix} "
                    "should be; fastbucket verify says more"
                )
            found.append(self._content(at, size))
            at, key = following, name.removesuffix(f".{suffix}")
        return Members(found[0], found[1], found[2], key)

    def _find(self, sample: Placed) -> tuple[int, int]:
        """Where the sample's first header is, and the size of its image in bytes."""
        while len(self._begins) <= sample.position:
            at = self._begins[-1]
            for _ in MEMBERS:
                at = self._member(at)[2]
            self._begins.append(at)
        at = self._begins[sample.position]
        name, size, _ = self._member(at)
        if sample.key and name != f"{sample.key}.{MEMBERS[0]}":
            raise RunError(
                f"{self.path}: sample {sample.position} is {name!r}, {self._said_by} says "
                f"{sample.key}; {self._remedy}"
            )
        return at, size

    def _member(self, at: int) -> tuple[str, int, int]:
        """Name and size in bytes of the member whose header is at `at`, and the next header."""
        header = self._header(at)
        if header == TAR_END[:TAR_BLOCK]:
            raise RunError(
                f"{self.path}: {len(self._begins) - 1} samples, {self._said_by} knows of more; "
                f"{self._remedy}"
            )
        try:
            digits = header[_SIZE].rstrip(b"\0 ")
            if header[_MAGIC] != b"ustar" or not digits.isdigit():  # int() would take a sign
                raise ValueError
            size = int(digits, 8)
            name = header[_NAME].rstrip(b"\0").decode()
        except ValueError:
            raise RunError(
                f"{self.path}: no tar header at byte {at}; fastbucket verify says more"
            ) from None
        return name, size, at + TAR_BLOCK + -(-size // TAR_BLOCK) * TAR_BLOCK

    def _header(self, at: int) -> bytes:
        """The block at `at`, of the window or of a new one."""
        skip = at - self._window_at
        if not 0 <= skip <= len(self._window) - TAR_BLOCK:
            try:
                self._window, self._window_at, skip = os.pread(self._descriptor, _WINDOW, at), at, 0
            except OSError as error:
                raise RunError(f"{self.path}: cannot be read: {error.strerror}") from error
            if len(self._window) < TAR_BLOCK:  # says that the file has become shorter
                return self._read(at, TAR_BLOCK)
        return self._window[skip : skip + TAR_BLOCK]

    def _content(self, at: int, size: int) -> bytes:
        return self._read(at + TAR_BLOCK, size)

    def _read(self, at: int, size: int) -> bytes:
        return bytes(pread.read(self._descriptor, str(self.path), at, size, bytearray()))
