"""What a member's name says: its key and its suffix, by webdataset's rule (base_plus_ext).

tarwalk compiles these functions into its own kernel, and numba's cache looks at the text of one
file only: after a change here, remove __pycache__.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, forceinline=True)
def key_size(name: np.ndarray, size: int) -> int:
    """Length of the key in name[:size], up to the first dot of its base name; 0: of no sample."""
    if size > 4 and name[0] == 95 and name[1] == 95:  # webdataset skips `__meta__` and below it
        end = 0
        while end < size and name[end] != 47:
            end += 1
        if end >= 4 and name[end - 1] == 95 and name[end - 2] == 95:
            return 0
    base = size
    while base > 0 and name[base - 1] != 47:
        base -= 1
    for i in range(base, size):
        if name[i] == 46:
            return 0 if i == base else i
    return 0


@njit(nogil=True, forceinline=True)
def suffix(name: np.ndarray, start: int, end: int) -> tuple[int, np.uint64]:
    """The suffix name[start:end] in lower case: (packed, -1 above 7 bytes; its FNV-1a hash)."""
    packed = np.int64(0)
    digest = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        c = np.int64(name[i])
        if 65 <= c <= 90:
            c += 32
        if i - start < 7:
            packed |= c << (8 * (i - start))
        digest = (digest ^ np.uint64(c)) * np.uint64(0x100000001B3)
    return (packed if end - start < 8 else np.int64(-1)), digest


@njit(nogil=True, forceinline=True)
def same(
    name: np.ndarray,
    size: int,
    keys: np.ndarray,
    start: int,
    end: int,
    seen: np.ndarray,
    members: int,
    digest: np.uint64,
) -> bool:
    """Whether name[:size] is the open sample's key, keys[start:end], and the suffix is new to it.

    A suffix that occurs twice starts another sample of the same key, which is an error later on.
    """
    if members == 0 or size != end - start:
        return False
    for i in range(size):
        if name[i] != keys[start + i]:
            return False
    for i in range(members):  # noqa: SIM110 - numba has no all() of a generator
        if seen[i] == digest:
            return False
    return True
