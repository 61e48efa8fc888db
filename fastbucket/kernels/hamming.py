"""Which of millions of 64-bit hashes are within a few bits of each other.

Cut into eight bytes, two hashes that differ in up to DISTANCE bits have at least two bytes alike:
six bits cannot spoil more than six of eight. So for each of the 28 pairs of bytes the hashes are
sorted by them, and only those that share both are compared: of 5 million random ones 76 a group,
5 thousand million comparisons instead of 12 million million.
"""

from __future__ import annotations

import numba
import numpy as np

DISTANCE = 6
"""Bits."""

WINDOW = 1024
"""Hashes of a group that follow one and are compared with it. Where very many share two bytes, as
hashes made on purpose could, the time stays bounded, and the farthest pairs may be missed."""

LEADERS = 64
"""Clusters that a chain of neighbours is cut into at least; what is left of it then stands alone,
but for chains that can be cut to their end within WORK."""

WORK = 1 << 24
"""Comparisons in a chain: one of some 5,000 members is always cut to its end. A chain of hashes 5
bits apart, each with a twin at one bit, 400 long: 636 of 802 are in a cluster, with LEADERS alone
205."""

_KEYS = 1 << 16


@numba.njit(boundscheck=False, nogil=True)
def _distance(one, other):
    """LLVM knows this for a population count."""
    x = one ^ other
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba.njit(boundscheck=False, nogil=True)
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit("int32[::1](uint64[::1], int64)", cache=True, nogil=True, boundscheck=False)
def chains(hashes, distance):
    """The component of each hash, where neighbours are linked: the index of its first member.

    hashes: uint64 (n,), each once, ascending. distance: bits, up to DISTANCE. int32 (n,).
    """
    n = len(hashes)
    parent = np.arange(n).astype(np.int32)
    order = np.empty(n, np.int32)
    sorted_ = np.empty(n, np.uint64)
    ends = np.empty(_KEYS + 1, np.int64)
    for high in range(8):
        for low in range(high):
            a, b = np.uint64(8 * high), np.uint64(8 * low)
            ends[:] = 0
            for i in range(n):
                key = ((hashes[i] >> a) & np.uint64(255)) << np.uint64(8)
                key |= (hashes[i] >> b) & np.uint64(255)
                ends[np.int64(key) + 1] += 1
            for key_ in range(_KEYS):
                ends[key_ + 1] += ends[key_]
            for i in range(n):  # afterwards ends[key] is where the group ends
                key = ((hashes[i] >> a) & np.uint64(255)) << np.uint64(8)
                key |= (hashes[i] >> b) & np.uint64(255)
                at = ends[np.int64(key)]
                order[at], sorted_[at] = i, hashes[i]
                ends[np.int64(key)] = at + 1
            start = np.int64(0)
            for key_ in range(_KEYS):
                end = ends[key_]
                for i in range(start, end):
                    one = sorted_[i]
                    for j in range(i + 1, min(end, i + 1 + WINDOW)):
                        if _distance(one, sorted_[j]) <= distance:
                            x, y = _root(parent, order[i]), _root(parent, order[j])
                            if x < y:
                                parent[y] = x
                            elif y < x:
                                parent[x] = y
                start = end
    for i in range(n):
        parent[i] = _root(parent, i)
    return parent


@numba.njit("(uint64[::1], int64[::1], int64, int32[::1], uint8[::1])", cache=True, nogil=True,
            boundscheck=False)  # fmt: skip
def lead(hashes, starts, distance, leader, away):
    """Cut chains into clusters around leaders.

    hashes: uint64 (n,), the members of all chains, one chain after the other, each in its order.
    starts: int64 (chains + 1,). The first member that belongs to nobody leads all those within
    `distance`. leader: int32 (n,), filled with the leader's index, a member's own where it stands
    alone; away: uint8 (n,), bits from the leader.
    """
    for i in range(len(hashes)):
        leader[i], away[i] = -1, 0
    for chain in range(len(starts) - 1):
        first, stop = starts[chain], starts[chain + 1]
        leaders, spent = 0, np.int64(0)
        while leaders < LEADERS or spent < WORK:
            while first < stop and leader[first] >= 0:
                first += 1
            if first == stop:
                break
            leaders += 1
            spent += stop - first
            for i in range(first, stop):
                if leader[i] < 0:
                    bits = _distance(hashes[first], hashes[i])
                    if bits <= distance:
                        leader[i], away[i] = first, bits
        for i in range(first, stop):
            if leader[i] < 0:
                leader[i] = i
