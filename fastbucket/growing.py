"""A shard that is being made."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

from . import index
from .buckets import Bucket
from .format import MEMBERS, STATE
from .look import DTYPE
from .records import Drop, Record, short_path
from .sample import Sample
from .shard import ShardFile
from .shardlist import Shard
from .tar import Headers

_LOOK = struct.Struct("<Q5h")
assert _LOOK.size == DTYPE.itemsize


class Growing:
    """A shard that is being made: its file, and what its record will say. samples: of its plan."""

    def __init__(self, out: Path, bucket: Bucket, shard: Shard, file: ShardFile) -> None:
        self._out, self._file = out, file
        self.bucket, self.number, self.samples = bucket, shard.number, shard.stop - shard.start
        self._drops: list[Drop] = []
        self._kept: list[int] = []
        self._ends: list[int] = []
        self._entries: list[index.Entry] = []
        self._looks = bytearray()
        self._captions = 0
        self._begun = False  # the image of the next sample is there

    def begin(self, key: str, jpeg: bytes, source: memoryview, headers: Headers) -> str:
        """Take the image of the sample that is added next, and hash its source beside it, which
        costs less than to hash both. Returns the SHA-256 of the source, in hex."""
        header, content, padding = headers.member(key, MEMBERS[0], jpeg)
        self._file.add([header])
        sha256 = self._file.add_beside(content, source)
        self._file.add([padding])
        self._begun = True
        return sha256

    def drop(self, drop: Drop) -> None:
        self._drops.append(drop)

    def add(self, position: int, sample: Sample, headers: Headers) -> None:
        self._captions += sample.captioned
        self._kept.append(position)
        self._looks += _LOOK.pack(*sample.look)
        blocks = headers.sample(sample.key, sample.members, int(self._begun))
        self._begun = False
        self._ends.append(self._file.add(blocks))
        jpg, txt, document = map(len, sample.members)
        self._entries.append(index.Entry(sample.key, *sample.size, (jpg, txt, document)))

    def commit(self) -> Record:
        """Make the shard visible, or have it wait if it has gaps. Its record is left to write."""
        state, name, drops = self._out / STATE, self.bucket.id, self._drops
        sha256 = self._file.commit(short_path(state, name, self.number) if drops else None)
        if not drops:  # else it changes yet
            written = index.Shard(name, self.number, len(self._kept), self._file.bytes, sha256)
            index.write_shard(self._out, written, self._entries)
        return Record(
            name,
            self.number,
            len(self._kept),
            self._file.bytes,
            sha256,
            self._captions,
            drops,
            self._kept,
            self._ends,
            base64.b64encode(self._looks).decode(),
            {},
        )
