"""The job of `prune`: a shard of a repacked bucket, copied from what stands in others.

Blocks go from tar to tar as they are, in runs of samples that stand behind one another. Of a sample
that leaves only the end of its JSON is read: whose caption it had.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..captions import applied
from ..errors import RunError
from ..fill import Final
from ..format import shard_path
from ..progress import Reporter
from ..repack.staging import Staging
from ..shard import ShardFile
from ..walked import sample_starts, walk

WORK = "pruning"
"""Folder of the state: the marker, journals, and shards that wait for their bucket."""

_OPEN_SHARDS = 4
"""Shards kept open: a repacked one draws on itself and on the bucket's last."""

_CHUNK = 1 << 20
"""Bytes read at a time."""


class Job(NamedTuple):
    """One shard of a bucket that loses samples.

    pieces: (shard, index) of the samples that it is to hold, empty where it stays as it is or goes.
    leaving: index and key of the samples that it has now and that leave.
    """

    bucket_id: str
    number: int
    pieces: list[tuple[int, int]]
    leaving: list[tuple[int, str]]


class Copied(NamedTuple):
    """final: the staged shard, None where there is none. captions: caption_source_id -> captions
    of samples that leave."""

    final: Final | None
    captions: dict[int, int]


class _Shard:
    """An open shard and where its samples lie."""

    def __init__(self, path: Path) -> None:
        walked = walk(path)
        self.path = path
        self.starts = sample_starts(walked)
        self.members, self.keys = walked.members, walked.keys
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def read(self, start: int, size: int) -> bytes:
        """Raises RunError where it is shorter than that, or cannot be read."""
        try:
            data = os.pread(self.descriptor, size, start)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be read: {error.strerror}") from None
        if len(data) != size:
            raise RunError(f"{self.path}: has become shorter; fastbucket verify tells more")
        return data

    def caption(self, index: int) -> int:
        """The caption_source_id of a sample; -1 where it has no caption or its JSON is damaged."""
        start, size = self.members[index, 4:6].tolist()
        try:
            return applied.read(self.read(start, size)).source_id
        except ValueError:
            return -1


class CopyTask:
    """Stages shards of repacked buckets. Called with (Job, report)."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._out = Path(setup["out"])
        self._staging = Staging(self._out, WORK)
        self._shards: dict[tuple[str, int], _Shard] = {}

    def __call__(self, job: Job, report: Reporter) -> Copied:
        captions: Counter[int] = Counter()
        for index, key in job.leaving:
            source = self._open(job.bucket_id, job.number)
            if source.keys[index : index + 1] != [key]:
                raise RunError(
                    f"{source.path}: sample {index} is not {key}, as meta/ says; fastbucket verify "
                    "tells more"
                )
            captions[source.caption(index)] += 1
        del captions[-1]
        if not job.pieces:
            return Copied(None, dict(captions))
        with ShardFile(self._staging.shard(job.bucket_id, job.number)) as shard:
            for number, first, last in _runs(job.pieces):
                source = self._open(job.bucket_id, number)
                start, end = source.starts[first], source.starts[last + 1]
                for at in range(start, end, _CHUNK):
                    shard.add([source.read(at, min(_CHUNK, end - at))])
                report(last + 1 - first)
            sha256 = shard.commit()
        return Copied(Final(job.number, len(job.pieces), shard.bytes, sha256), dict(captions))

    def _open(self, bucket_id: str, number: int) -> _Shard:
        """A shard, kept for the next job if that is of the same bucket."""
        name = bucket_id, number
        if name in self._shards:
            self._shards[name] = self._shards.pop(name)  # the last to go
        else:
            for other in [o for o in self._shards if o[0] != bucket_id]:
                del self._shards[other]
            while len(self._shards) >= _OPEN_SHARDS:
                del self._shards[next(iter(self._shards))]
            self._shards[name] = _Shard(self._out / shard_path(*name))
        return self._shards[name]


def _runs(pieces: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """(shard, first index, last index) of pieces that stand behind one another, in their order."""
    shard, first = pieces[0]
    last = first
    for number, index in pieces[1:]:
        if (number, index) != (shard, last + 1):
            yield shard, first, last
            shard, first = number, index
        last = index
    yield shard, first, last
