"""The orientation in the Exif data of an image, read in place.

Sources: CIPA DC-008 (Exif), and TIFF 6.0 for the structure.

jpegheader and tarwalk compile these functions into their own kernels, and numba's cache looks at
the text of one file only: after a change here, remove __pycache__.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, forceinline=True)
def _short(data: np.ndarray, at: int, little: bool) -> int:
    low, high = (at, at + 1) if little else (at + 1, at)
    return int(np.int64(data[high]) << 8 | np.int64(data[low]))


@njit(nogil=True)
def orientation_of(data: np.ndarray, start: int, end: int, have: int) -> int:
    """Tag 0x0112 of the first IFD of the TIFF structure data[start:end]; 1 where it is unfit.

    Only type SHORT counts, as in browsers and libexif (Pillow takes a LONG too). 0: the answer is
    behind data[:have].
    """
    if end - start < 8:
        return 1
    if start + 8 > have:
        return 0
    if data[start] != data[start + 1]:
        return 1
    little = data[start] == 0x49  # II, else MM
    if not little and data[start] != 0x4D:
        return 1
    if _short(data, start + 2, little) != 42:
        return 1
    first, second = _short(data, start + 4, little), _short(data, start + 6, little)
    offset = (second << 16 | first) if little else (first << 16 | second)
    if offset > end - start - 2:
        return 1
    at = start + offset + 2
    if at > have:
        return 0
    for _ in range(_short(data, start + offset, little)):
        if at + 12 > end:
            return 1
        if at + 12 > have:
            return 0
        if _short(data, at, little) == 0x0112:
            value = _short(data, at + 8, little)
            return value if _short(data, at + 2, little) == 3 and 1 <= value <= 8 else 1
        at += 12
    return 1
