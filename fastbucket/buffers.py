"""Memory that vectors like: numpy aligns to 16 bytes, the kernels read up to 64 at once."""

from __future__ import annotations

import numpy as np

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""


def aligned(size: int) -> np.ndarray:
    """uint8 (size,), not initialised, that starts at a multiple of ALIGNMENT."""
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + size]
