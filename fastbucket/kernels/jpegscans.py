"""The scans of a JPEG, counted: every one of them visits all blocks again."""

from __future__ import annotations

import numpy as np
from numba import njit, types

from .signature import BYTES


@njit(types.int64(BYTES), nogil=True, cache=True)
def scans(data: np.ndarray) -> int:
    """How often the marker of a scan (SOS, FF DA) stands in a file, uint8 (n,).

    At most so many scans: within the coded data no FF is followed by DA, but a thumbnail in the
    header has scans of its own. 98 us for 0.56 MB, where a regular expression took 420.
    """
    found, last = np.int64(0), np.uint64(max(len(data), 1) - 1)
    for i in range(last):
        found += np.int64(data[i] == 0xFF) & np.int64(data[i + np.uint64(1)] == 0xDA)
    return int(found)
