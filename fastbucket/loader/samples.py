"""Samples out of shards, at their offsets: one read each, and only those that were asked for."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import index
from ..errors import RunError
from ..format import MEMBERS, TAR_BLOCK, TAR_END, shard_path

_OPEN_SHARDS = 128
"""Files that stay open; the usual limit of a process is 1,024."""

_KNOWN_SHARDS = 4096
"""Shards of which is remembered where their samples begin: 8 KB each at 1,024 samples."""

_NAME, _SIZE = slice(0, 100), slice(124, 135)
_HELP = "restore it, and fastbucket verify tells more"


class Sample(NamedTuple):
    """One sample. url: `<shard>`, as webdataset has it. jpg, txt, json: views of what was read."""

    key: str
    url: str
    jpg: memoryview
    txt: memoryview
    json: memoryview


class Samples:
    """The samples of an export, by the number of the shard in `shards` and the place within it.

    Raises RunError, naming the shard, where one is missing or is not the manifest's.
    """

    def __init__(self, out: Path, shards: Sequence[index.Shard]) -> None:
        self._out, self._shards = out, shards
        self._open: OrderedDict[int, int] = OrderedDict()  # shard -> descriptor
        self._begins: OrderedDict[int, NDArray[np.int64]] = OrderedDict()

    def read(self, shard: int, at: int) -> Sample:
        begins = self._starts(shard)
        start, size = int(begins[at]), int(begins[at + 1] - begins[at])
        block = self._pread(shard, start, size)
        names: list[str] = []
        parts: list[memoryview] = []
        offset = 0
        try:
            for _ in MEMBERS:
                name, length = _member(block[offset : offset + TAR_BLOCK])
                offset += TAR_BLOCK
                names.append(name)
                parts.append(block[offset : offset + length])
                offset += length + -length % TAR_BLOCK
            key = names[0].partition(".")[0]
            if offset != size or names != [f"{key}.{suffix}" for suffix in MEMBERS]:
                raise ValueError
        except ValueError:
            raise RunError(
                f"{self._path(shard)}: no sample at byte {start}; fastbucket verify tells more"
            ) from None
        return Sample(key, str(self._path(shard)), *parts)

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def __del__(self) -> None:
        self.close()

    def _path(self, shard: int) -> Path:
        return self._out / shard_path(self._shards[shard].bucket_id, self._shards[shard].number)

    def _descriptor(self, shard: int) -> int:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        while len(self._open) >= _OPEN_SHARDS:
            os.close(self._open.popitem(last=False)[1])
        path = self._path(shard)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RunError(f"{path}: cannot be opened: {error.strerror}; {_HELP}") from None
        self._open[shard] = descriptor
        size, listed = os.fstat(descriptor).st_size, self._shards[shard].bytes
        if size != listed:
            raise RunError(
                f"{path} is of {size} bytes, {listed} when this loader was made: it was cut short "
                f"or replaced. {_HELP[0].upper()}{_HELP[1:]}; or make the loader anew"
            )
        return descriptor

    def _starts(self, shard: int) -> NDArray[np.int64]:
        """Where each sample begins, and where the last one ends: of the index, or of the tar."""
        if shard in self._begins:
            self._begins.move_to_end(shard)
            return self._begins[shard]
        while len(self._begins) >= _KNOWN_SHARDS:
            self._begins.popitem(last=False)
        listed = self._shards[shard]
        end = listed.bytes - len(TAR_END)
        found = index.starts(self._out, listed)
        if found is None:
            found = self._walked(shard, end)
        self._begins[shard] = np.array([*found, end], np.int64)
        return self._begins[shard]

    def _walked(self, shard: int, end: int) -> list[int]:
        found, at = list[int](), 0
        try:
            while at < end:
                found.append(at)
                for _ in MEMBERS:
                    _, length = _member(self._pread(shard, at, TAR_BLOCK))
                    at += TAR_BLOCK + length + -length % TAR_BLOCK
        except ValueError:
            at = -1
        if at != end or len(found) != self._shards[shard].samples:
            raise RunError(
                f"{self._path(shard)} does not hold the {self._shards[shard].samples} samples that "
                "the manifest lists; fastbucket verify tells more"
            )
        return found

    def _pread(self, shard: int, start: int, size: int) -> memoryview:
        descriptor, block = self._descriptor(shard), b""
        try:
            while len(block) < size:  # once, but for signals and strange file systems
                part = os.pread(descriptor, size - len(block), start + len(block))
                if not part:
                    raise RunError(f"{self._path(shard)} has become shorter; {_HELP}")
                block = block + part if block else part
        except OSError as error:
            raise RunError(f"{self._path(shard)}: {error.strerror}; {_HELP}") from None
        return memoryview(block)


def _member(header: memoryview) -> tuple[str, int]:
    """Name of a member, and its bytes. Raises ValueError for what is no such header."""
    name = bytes(header[_NAME]).rstrip(b"\0").decode("ascii")
    size = bytes(header[_SIZE])
    if not size.isdigit():  # int() would take a sign, and the walk go back
        raise ValueError(size)
    return name, int(size, 8)
