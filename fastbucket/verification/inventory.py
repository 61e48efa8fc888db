"""All samples of all shards: which keys there are, and where. Arrays, 48 bytes a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .shard import ShardFacts

KEY_BYTES = 32


class Inventory:
    """The samples in the order of the shards given: (path, facts) pairs."""

    def __init__(self, shards: Sequence[tuple[str, ShardFacts]]) -> None:
        self.paths = [path for path, _ in shards]
        counts = [facts.samples for _, facts in shards]
        self._starts = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        self._keys = np.frombuffer(b"".join(facts.keys for _, facts in shards), np.uint8)
        self._keys = self._keys.reshape(-1, KEY_BYTES)
        prints = b"".join(facts.prints for _, facts in shards)
        self.prints = np.frombuffer(prints, np.uint64)
        head = _head(self._keys)
        self._order = np.argsort(head, kind="stable")
        self._sorted = head[self._order]

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> str:
        return bytes(self._keys[index]).hex()

    def places(self, indices: Sequence[int]) -> list[tuple[int, int]]:
        """Index of the shard, and position within it, of each sample."""
        at = np.asarray(indices, np.int64)
        shards = np.searchsorted(self._starts, at, side="right") - 1
        return list(zip(shards.tolist(), (at - self._starts[shards]).tolist(), strict=True))

    def path(self, index: int) -> str:
        """Path of the shard that a sample stands in."""
        return self.paths[self.places([index])[0][0]]

    def repeated(self) -> Iterator[tuple[int, int]]:
        """Pairs of samples of one key, the earlier one first."""
        for at in np.flatnonzero(self._sorted[1:] == self._sorted[:-1]).tolist():
            first, second = int(self._order[at]), int(self._order[at + 1])
            if (self._keys[first] == self._keys[second]).all():
                yield first, second

    def find(self, keys: bytes) -> NDArray[np.int64]:
        """Where keys (32 bytes each, joined) are; -1 for one that is nowhere.

        They are looked up by their first 64 bits and compared whole: of two samples that share
        these (once in 10 million exports of a million samples) the second would count as missing.
        """
        wanted = np.frombuffer(keys, np.uint8).reshape(-1, KEY_BYTES)
        if not len(self) or not len(wanted):
            return np.full(len(wanted), -1, np.int64)
        at = np.searchsorted(self._sorted, _head(wanted)).clip(max=len(self) - 1)
        index = self._order[at]
        return np.where((self._keys[index] == wanted).all(axis=1), index, -1).astype(np.int64)


def _head(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The first 64 bits of keys (n, 32), uint64 (n,)."""
    return np.ascontiguousarray(keys[:, :8]).view(np.uint64).ravel()
