"""A window over a file: the bytes that a kernel looks at, refilled by pread as it walks on.

Inlined by force wherever they are small, here and in the other kernels of the walk: calls of numba
count references to every array, atomically, which was a seventh of a scan.

tarwalk compiles these functions into its own kernel, and numba's cache looks at the text of one
file only: after a change here, remove __pycache__.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

# The file, int64; offsets and sizes in bytes.
DESCRIPTOR = 0
SIZE = 1  # at the time of opening; nothing behind it is looked at
BASE = 2  # the window holds bytes BASE to END - 1 of the file
END = 3
NEAR = 4  # refills in a row that began close behind the window before
FAULT = 5  # where a read failed
FAULT_SIZE = 6
CALLS = 7  # preads and bytes read, for who counts the work
BYTES = 8
FILE = 9

ROOM = 128 * 1024
"""Bytes of the window's array: any segment of a JPEG and any member name fit in."""

SMALL = 4096
"""Bytes of a refill behind a jump: the rest of a sample's small members, the next one's first and
the header of its JPEG. Toy walk, samples of 84 KB, 2, 4, 8, 16 KiB: 1.3, 1.8, 1.3, 0.9 M members/s.
"""

LARGE = 64 * 1024
"""Bytes of a refill where members are small, so that all of the file is read anyhow."""

GAP = 8192
"""Bytes between two windows up to which it is worth reading them. 0, 8, 32 KiB, walk alone, us a
sample of 4, 12, 22, 42 KiB: 1.3, 1.7, 1.9, 2.0; 1.1, 1.6, 1.9, 2.0; 1.1, 1.6, 3.1, 3.6."""

_pread = types.ExternalFunction(
    "pread", types.intp(types.int32, types.voidptr, types.uintp, types.int64)
)  # libc's; unlike a pointer of ctypes it can be cached


def opened(descriptor: int, size: int) -> np.ndarray:
    """The int64 (FILE,) array of a file of `size` bytes, nothing read yet."""
    file = np.zeros(FILE, np.int64)
    file[DESCRIPTOR], file[SIZE] = descriptor, size
    return file


@njit(nogil=True)
def _refill(file: np.ndarray, window: np.ndarray, at: int, count: int) -> int:
    gap = at - file[END]
    file[NEAR] = file[NEAR] + 1 if at >= file[BASE] and gap <= GAP else 0
    span = LARGE if file[NEAR] > 2 else SMALL
    size = min(max(count, span), file[SIZE] - at, len(window))
    got = 0
    while got < count:  # a network file system, or a signal, may cut a read short
        step = _pread(
            np.int32(file[DESCRIPTOR]), window[got:size].ctypes, np.uintp(size - got), at + got
        )
        file[CALLS] += 1
        if step <= 0:
            file[BASE] = file[END] = 0
            file[FAULT], file[FAULT_SIZE] = at, count
            return -1
        file[BYTES] += step
        got += step
    file[BASE], file[END] = at, at + got
    return 0


@njit(nogil=True, forceinline=True)
def need(file: np.ndarray, window: np.ndarray, at: int, count: int) -> int:
    """Index in `window` of byte `at` of the file, with the `count` bytes from there behind it.

    file: int64 (FILE,); window: uint8, at least `count`; 0 <= at, at + count <= file[SIZE]. An
    index is good up to the next call. -1: the read failed (errno is not ours to fetch here: who
    wants it reads file[FAULT] again), and the window is empty.
    """
    if at >= file[BASE] and at + count <= file[END]:
        return int(at - file[BASE])
    return int(_refill(file, window, at, count))
