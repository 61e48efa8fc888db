"""The shards of an export: which samples, of those that are kept, go into which."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .buckets import Bucket


class Shard(NamedTuple):
    """One shard of the export: rows [start, stop) of the plan, all of one bucket.

    With several bases a bucket's rows stand once in the plan, those that fit the most bases first;
    the shards of one number begin at the same row at every base that reaches so far.
    """

    bucket: int
    number: int
    start: int
    stop: int


class Shards:
    """The shards of an export and their buckets, at every base."""

    buckets: tuple[Bucket, ...]  # of all bases, the smallest base first
    shards: list[Shard]

    def tasks(self) -> list[tuple[int, ...]]:
        """Indices of the shards that are made of the same samples, decoded once: those of one
        number of a bucket at every base. The first is of the smallest base, and has all of them."""
        together: dict[int, list[int]] = {}
        for index, shard in enumerate(self.shards):
            together.setdefault(shard.start, []).append(index)
        return [tuple(indices) for indices in together.values()]

    def at_larger_bases(self, bucket: int) -> list[int]:
        """The same bucket at the larger bases, the largest first."""
        own = self.buckets[bucket]
        return [
            index
            for index in range(len(self.buckets) - 1, bucket, -1)
            if self.buckets[index].proto == own.proto
        ]

    def is_whole(self, bucket: int) -> bool:
        """Whether a bucket is of the smallest base, which every kept sample goes to."""
        return self.buckets[bucket].base == self.buckets[0].base


def order(reason: np.ndarray, bucket: np.ndarray, family: int) -> np.ndarray:
    """The kept rows by bucket, those first that fit most bases, in the order of the source within
    each. bucket: as in `Plan`, of so many at each base. int64 (kept,)."""
    kept = np.flatnonzero(reason == 0)
    level, proto = np.divmod(bucket[kept], np.int16(family))
    return np.asarray(kept[np.lexsort((-level, proto))])  # which is stable


def cut(
    bucket: np.ndarray, level: np.ndarray, bases: int, family: int, shard_size: int
) -> list[Shard]:
    """The shards of samples in their order: ascending by bucket, int16 (n,), below `family`, and
    descending by the number of `bases` that they fit, uint8 (n,)."""
    shards: list[Shard] = []
    found, first, count = np.unique(bucket, return_index=True, return_counts=True)
    ends = first + count
    for base in range(bases):
        for own, start, end in zip(found.tolist(), first.tolist(), ends.tolist(), strict=True):
            stop = start + int((level[start:end] > base).sum())
            for number, at in enumerate(range(start, stop, shard_size)):
                here = Shard(base * family + own, number, at, min(at + shard_size, stop))
                shards.append(here)
    return shards
