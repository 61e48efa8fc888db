"""Suffixes that claim an image, in lower case, and those of the members beside it. No numba here.

tarwalk compiles these into its kernel: after a change here, remove __pycache__.
"""

from __future__ import annotations

IMAGES = (
    *("jpg", "jpeg", "png", "webp", "jpe", "jfif", "tif", "tiff", "gif", "avif", "heic", "heif"),
    *("hif", "bmp", "dib", "jp2", "j2k", "jpx", "jxl", "ppm", "pgm", "pnm", "ico", "psd", "apng"),
    "mpo",
)
"""Some (bmp, jp2, jxl, psd) are read by no loader here: such a member is `unreadable`; were its
suffix not in this list, its sample would be `no_image`."""

TEXT, JSON, CLASS = "txt", "json", "cls"
