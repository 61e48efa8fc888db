"""What an image is, by its first bytes (never by its suffix).

The codes are those of `catalogue.KIND`, except that every JPEG is `jpeg` here: whether it is a
plain one is decided after its header is read.

tarwalk compiles these functions into its own kernel, and numba's cache looks at the text of one
file only: after a change here, remove __pycache__.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

NONE, JPEG, PNG, GIF, WEBP, TIFF, HEIF = 0, 1, 3, 4, 5, 6, 7

BYTES = types.Array(types.uint8, 1, "C", readonly=True)
"""A mapped file or a buffer: uint8, contiguous, never written to."""

BRANDS_LIMIT = 128
"""Bytes of an `ftyp` box that are looked at for brands."""


def _tag(text: bytes) -> int:
    return int.from_bytes(text, "big")


# Brands that libheif reads: HEVC stills and sequences, AV1 stills and sequences, generic HEIF.
_BRANDS = np.array(
    [_tag(b) for b in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")]
    + [_tag(b) for b in (b"avif", b"avis")],
    dtype=np.int64,
)
_FTYP = _tag(b"ftyp")
_RIFF = _tag(b"RIFF")
_WEBP = _tag(b"WEBP")
_GIF8 = _tag(b"GIF8")
_PNG_HIGH = _tag(b"\x89PNG")
_PNG_LOW = _tag(b"\r\n\x1a\n")
_TIFFS = (_tag(b"II*\0"), _tag(b"MM\0*"), _tag(b"II+\0"), _tag(b"MM\0+"))  # + is BigTIFF


@njit(nogil=True, cache=True)
def _u32(data: np.ndarray, at: int) -> int:
    high = np.int64(data[at]) << 24 | np.int64(data[at + 1]) << 16
    return int(high | np.int64(data[at + 2]) << 8 | np.int64(data[at + 3]))


@njit(types.int64(BYTES, types.int64, types.int64), nogil=True, cache=True)
def signature(data: np.ndarray, start: int, end: int) -> int:
    """The kind of image in data[start:end]: a code of `catalogue.KIND`, 0 for none known.

    data: uint8 (n,); start, end: bytes, 0 <= start <= end <= n.
    """
    size = end - start
    if size < 4:
        return NONE
    head = _u32(data, start)
    if head >> 8 == 0xFFD8FF:
        return JPEG
    if head == _TIFFS[0] or head == _TIFFS[1] or head == _TIFFS[2] or head == _TIFFS[3]:
        return TIFF
    if size < 6:
        return NONE
    if head == _GIF8:
        version = data[start + 4]
        return GIF if (version == 55 or version == 57) and data[start + 5] == 97 else NONE
    if size < 12:
        return NONE
    second = _u32(data, start + 4)
    if head == _PNG_HIGH and second == _PNG_LOW:
        return PNG
    if head == _RIFF and _u32(data, start + 8) == _WEBP:
        return WEBP
    if second == _FTYP:
        limit = min(size, head, BRANDS_LIMIT)
        at = 8
        while at + 4 <= limit:
            brand = _u32(data, start + at)
            if at != 12:  # the minor version is no brand
                for known in _BRANDS:
                    if brand == known:
                        return HEIF
            at += 4
    return NONE
