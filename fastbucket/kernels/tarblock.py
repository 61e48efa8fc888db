"""A header block of a tar: its checksum and its number fields.

Sources: POSIX.1-2008 pax (ustar), GNU tar's tar.h (base-256 sizes) and Python's tarfile.

tarwalk compiles these functions into its own kernel, and numba's cache looks at the text of one
file only: after a change here, remove __pycache__.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 512

ZERO, GOOD, BAD = 0, 1, 2

_HALF = np.uint64(256)
"""256 bytes sum up in 16 bits, which makes the widest vectors: 8 ns a block, in 32 bits 12, in 64
43. A signed index, which numba lets count from the end, is the end of vectors: 210."""


@njit(nogil=True, forceinline=True)
def starts(data: np.ndarray, at: int, text: np.ndarray) -> bool:
    """Whether data[at:] starts with the bytes `text`; the caller knows that there are as many."""
    for i in range(len(text)):  # noqa: SIM110 - numba has no all() of a generator
        if data[at + i] != text[i]:
            return False
    return True


@njit(nogil=True, forceinline=True)
def length_of(data: np.ndarray, at: int, limit: int) -> int:
    """Bytes before the first NUL of the field data[at:at + limit]."""
    for i in range(limit):
        if data[at + i] == 0:
            return i
    return limit


@njit(nogil=True, forceinline=True)
def number(data: np.ndarray, at: int, width: int) -> int:
    """An octal or base-256 field; -1 for one that is damaged, negative or above 2^62."""
    value = np.int64(0)
    if data[at] == 0x80:
        for i in range(1, width):
            if value >= 1 << 54:
                return -1
            value = value << 8 | np.int64(data[at + i])
        return int(value)
    end = at + length_of(data, at, width)
    while at < end and (data[at] == 32 or 9 <= data[at] <= 13):
        at += 1
    while end > at and (data[end - 1] == 32 or 9 <= data[end - 1] <= 13):
        end -= 1
    for i in range(at, end):
        if not 48 <= data[i] <= 55:
            return -1
        value = value << 3 | np.int64(data[i] - 48)
    return int(value)


@njit(nogil=True, forceinline=True)
def block_state(data: np.ndarray, at: int) -> int:
    """Whether data[at:at + 512] is all zero, a header with a right checksum, or bad.

    The sum counts its own field as blanks, and bytes as unsigned; old tars summed them signed.
    """
    left, right, start = np.uint16(0), np.uint16(0), np.uint64(at)
    for i in range(_HALF):
        left = np.uint16(left + data[start + i])
        right = np.uint16(right + data[start + _HALF + i])
    total = np.int64(left) + np.int64(right)
    if total == 0:
        return ZERO
    unsigned = total + 8 * 32
    for i in range(at + 148, at + 156):
        unsigned -= data[i]
    stored = number(data, at + 148, 8)
    if stored == unsigned:
        return GOOD
    for i in range(BLOCK):
        if data[at + i] >= 128 and not 148 <= i < 156:
            unsigned -= 256
    return GOOD if stored == unsigned else BAD
