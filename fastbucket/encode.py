"""Pixels of the bucket to a baseline JPEG: JFIF, no EXIF, no profile."""

from __future__ import annotations

import numpy as np
import simplejpeg


def encode(rgbx: np.ndarray, quality: int, subsampling: str) -> bytes:
    """JPEG bytes of RGBX uint8 (H, W, 4), rows contiguous; subsampling as in "4:2:0"."""
    jpeg: bytes = simplejpeg.encode_jpeg(
        rgbx, quality=quality, colorspace="RGBX", colorsubsampling=subsampling.replace(":", "")
    )
    return jpeg
