"""Which samples are in which batch: worked out from counts alone, no sample is looked at.

An epoch is a list of batches, each of one bucket, dealt to the ranks in turn: in round i rank r has
batch i * ranks + r. All of it follows from the seed and the number of the epoch, and any batch can
be asked for without those before it. That is what makes positions exact, whatever the number of
DataLoader workers, and keeps a bucket of a single shard shared out without doubles.

    shards of a bucket, shuffled ─▶ groups of whole shards, shuffled inside ─▶ cut into batches
    batches of all buckets, shuffled: at each step a bucket comes with a chance in proportion to the
    batches that it has left

Memory: 6 bytes a batch of the epoch, and 4 bytes a sample of two groups a bucket.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MIX, _SHARDS, _GROUP = range(3)
"""What a stream of random numbers is for."""


class Rules(NamedTuple):
    """How batches are made. shards: samples of every shard, by bucket. buffer: samples that are
    shuffled together, rounded up to whole shards. ranks: processes that train together."""

    shards: Sequence[Sequence[int]]
    batch_size: int
    seed: int
    shuffle: bool
    buffer: int
    drop_last: bool
    ranks: int

    def batches(self) -> list[int]:
        """Batches of every bucket."""
        samples = [sum(counts) for counts in self.shards]
        if self.drop_last:
            return [n // self.batch_size for n in samples]
        return [-(-n // self.batch_size) for n in samples]

    def rounds(self) -> int:
        """Batches of every rank in an epoch."""
        total = sum(self.batches())
        return total // self.ranks if self.drop_last else -(-total // self.ranks)


class Batch(NamedTuple):
    """bucket: its index. places: (shard, position within it) of every sample."""

    bucket: int
    places: list[tuple[int, int]]


class Epoch:
    """The batches of one epoch.

    Without drop_last every sample is in it once: a bucket's last batch may be smaller, and where
    the last round has fewer batches than ranks these are cut into smaller ones, so that every rank
    has the same number. Only where there are fewer samples than ranks to give them to are some
    repeated. With drop_last every batch is full, and what is over is left out, of buckets and of
    the last round; what that is differs from epoch to epoch.
    """

    def __init__(self, rules: Rules, number: int) -> None:
        self._rules, self._number = rules, number
        batches = rules.batches()
        kind = np.min_scalar_type(max(len(batches), 1))
        labels = np.repeat(np.arange(len(batches), dtype=kind), batches)
        if rules.shuffle:
            labels = self._random(_MIX).permutation(labels)
        self._labels = labels
        # The how-many-th batch of its bucket each one is.
        self._ranked = np.empty(len(labels), np.int32)
        by_bucket = np.argsort(labels, kind="stable")
        first = np.concatenate(([0], np.cumsum(batches)))
        self._ranked[by_bucket] = np.arange(len(labels)) - first[labels[by_bucket]]
        self._orders = [_Order(self, bucket) for bucket in range(len(batches))]
        self._cut, self._tail = self._shared_out()

    def batch(self, turn: int, rank: int) -> Batch:
        """The batch of a rank in a round, 0 <= turn < rules.rounds()."""
        number = turn * self._rules.ranks + rank
        if number >= self._cut:
            bucket, start, stop = self._tail[number - self._cut]
        else:
            bucket, start, stop = self._piece(number)
        return Batch(bucket, self._orders[bucket].places(start, stop))

    def _piece(self, number: int) -> tuple[int, int, int]:
        """Bucket, and start and stop in the order of its samples, of a batch."""
        bucket, size = int(self._labels[number]), self._rules.batch_size
        start = int(self._ranked[number]) * size
        return bucket, start, min(start + size, self._orders[bucket].samples)

    def _shared_out(self) -> tuple[int, list[tuple[int, int, int]]]:
        """The last batches, so that all ranks have the same number; and the first one's number."""
        ranks, total = self._rules.ranks, len(self._labels)
        over = total % ranks
        if not over or self._rules.drop_last:
            return total, []
        cut = total - over
        wanted = ranks
        pieces = [self._piece(number) for number in range(cut, total)]
        # Batches of one sample cannot be cut, however many of them are looked at.
        divisible = self._rules.batch_size > 1
        while divisible and cut and sum(stop - start for _, start, stop in pieces) < wanted:
            cut, wanted = cut - ranks, wanted + ranks
            pieces = [self._piece(number) for number in range(cut, cut + ranks)] + pieces
        heap = [(start - stop, at, start, stop) for at, (_, start, stop) in enumerate(pieces)]
        heapq.heapify(heap)  # the largest first
        while len(heap) < wanted and heap[0][0] < -1:
            _, at, start, stop = heapq.heappop(heap)
            middle = (start + stop) // 2
            heapq.heappush(heap, (start - middle, at, start, middle))
            heapq.heappush(heap, (middle - stop, at, middle, stop))
        tail = [(pieces[at][0], start, stop) for _, at, start, stop in sorted(heap, key=_in_order)]
        # What is still missing comes again: the epoch's first batches, as many as there are.
        missing = range(wanted - len(tail))
        again = [self._piece(at % cut) if cut else tail[at % len(tail)] for at in missing]
        return cut, [*tail, *again]

    def _random(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._rules.seed, self._number, *purpose])


class _Order:
    """The samples of a bucket in the order of an epoch."""

    def __init__(self, epoch: Epoch, bucket: int) -> None:
        rules, counts = epoch._rules, np.asarray(epoch._rules.shards[bucket], np.int64)
        self._epoch, self._bucket = epoch, bucket
        self._shards = np.arange(len(counts))
        if rules.shuffle:
            self._shards = epoch._random(_SHARDS, bucket).permutation(len(counts))
        self._ends = np.cumsum(counts[self._shards])
        self._begins = self._ends - counts[self._shards]
        self.samples = int(counts.sum())
        together = max(1, -(-rules.buffer // int(counts.max(initial=1))))
        self._group_begins = self._begins[::together]
        self._groups: dict[int, NDArray[np.int32]] = {}

    def places(self, start: int, stop: int) -> list[tuple[int, int]]:
        """(shard, position within it) of the samples from start to stop."""
        at = np.arange(start, stop)
        if self._epoch._rules.shuffle:
            group = np.searchsorted(self._group_begins, at, side="right") - 1
            begins = self._group_begins[group]
            for number in np.unique(group).tolist():
                here = group == number
                at[here] = self._group(number)[at[here] - begins[here]] + begins[here]
        shard = np.searchsorted(self._ends, at, side="right")
        return list(
            zip(self._shards[shard].tolist(), (at - self._begins[shard]).tolist(), strict=True)
        )

    def _group(self, number: int) -> NDArray[np.int32]:
        """The order within a group. Two are kept: a batch may be of both."""
        if number not in self._groups:
            while len(self._groups) >= 2:
                del self._groups[min(self._groups)]
            begins = [*self._group_begins[number : number + 2].tolist(), self.samples]
            order = self._epoch._random(_GROUP, self._bucket, number).permutation(
                begins[1] - begins[0]
            )
            self._groups[number] = order.astype(np.int32)
        return self._groups[number]


def _in_order(piece: tuple[int, int, int, int]) -> tuple[int, int]:
    return piece[1], piece[2]
