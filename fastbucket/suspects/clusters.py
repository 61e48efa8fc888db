"""Near-identical samples: everybody in a cluster is within a few bits of its first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels import hamming

DISTANCE = 5
"""Bits, by docs/suspects.md: at six more copies are found, and two designs of cards are one."""


class Clusters(NamedTuple):
    """first: int64 (n,), index of the first sample of each one's cluster; -1 without a cluster.
    away: uint8 (n,), bits of the hash between the two. size: int64 (n,), samples of the cluster.
    """

    first: NDArray[np.int64]
    away: NDArray[np.uint8]
    size: NDArray[np.int64]


def clusters(hashes: NDArray[np.uint64], distance: int = DISTANCE) -> Clusters:
    """Clusters of hashes, uint64 (n,), in the order of the samples. distance: bits, up to six.

    The first sample that is in no cluster leads all that are near it; so who keeps the first of a
    cluster keeps something near to everything in it. Time: n log n, and bounded whatever the
    hashes are: a million equal ones count as one.
    """
    if not 0 <= distance <= hamming.DISTANCE:
        raise ValueError(f"distance {distance}: 0 to {hamming.DISTANCE} bits")
    n = len(hashes)
    by_hash = np.argsort(hashes, kind="stable")
    ordered = hashes[by_hash]
    new = np.ones(n, np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    unique = np.ascontiguousarray(ordered[new])
    earliest = by_hash[new]  # the first sample of each hash: the sort is stable
    chain = hamming.chains(unique, distance)
    members = np.lexsort((earliest, chain))
    bounds = np.flatnonzero(np.diff(chain[members], prepend=-1, append=-1)).astype(np.int64)
    leader, away = np.empty(len(unique), np.int32), np.empty(len(unique), np.uint8)
    hamming.lead(np.ascontiguousarray(unique[members]), bounds, distance, leader, away)
    of_hash, bits = np.empty(len(unique), np.int64), np.empty(len(unique), np.uint8)
    of_hash[members], bits[members] = earliest[members][leader], away
    number = np.empty(n, np.int64)
    number[by_hash] = np.cumsum(new) - 1
    first = of_hash[number]
    size = np.bincount(first, minlength=n)[first] if n else first
    alone = size < 2
    return Clusters(
        np.where(alone, -1, first), np.where(alone, 0, bits[number]), np.where(alone, 0, size)
    )
