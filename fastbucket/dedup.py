"""Exact duplicates of source bytes, without reading what cannot be one.

Only samples equal in byte size and dimensions can be equal; of those the xxh3 of the first bytes
is compared; of what is still equal the SHA-256 of everything. Most samples are never opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import xxhash

PREFIX = 4096
"""Bytes of the prefix: one page, and past the tables that most JPEGs of one camera share."""


def _groups(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Group number of every row; rows are in one group where all columns are equal. int64 (n,)."""
    order = np.lexsort(columns)
    new = np.zeros(order.size, bool)
    for column in columns:
        ordered = column[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    group = np.empty(order.size, np.int64)
    group[order] = np.cumsum(new)
    return group


def _shared(group: np.ndarray) -> np.ndarray:
    """Rows whose group has another member. bool (n,)."""
    return np.asarray(np.bincount(group)[group] > 1) if group.size else np.zeros(0, bool)


def duplicates(
    size: np.ndarray,
    width: np.ndarray,
    height: np.ndarray,
    read: Callable[[np.ndarray, int | None], Iterator[bytes | memoryview]],
) -> np.ndarray:
    """Which samples repeat an earlier one. bool (n,), rows in source order.

    read(rows, limit): yields the first `limit` bytes (None: all) of each row, in order.
    """
    repeated = np.zeros(size.size, bool)
    rows = np.arange(size.size)
    group = _groups((size, width, height))
    shared = _shared(group)
    rows, group = rows[shared], group[shared]
    prefix = np.fromiter(
        (xxhash.xxh3_64_intdigest(data) for data in read(rows, PREFIX)), np.uint64, rows.size
    )
    group = _groups((group, prefix))
    shared = _shared(group)
    rows, group = rows[shared], group[shared]
    seen: set[tuple[int, bytes]] = set()
    for row, same, data in zip(rows, group, read(rows, None), strict=True):
        digest = (int(same), hashlib.sha256(data).digest())
        repeated[row] = digest in seen
        seen.add(digest)
    return repeated
