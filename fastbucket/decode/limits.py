"""What an image takes to decode, told by its header, before the decoder is let loose.

`max_pixels` bounds the pixels; this bounds what stands behind them. A worker is to stay below
500 MB whatever comes, and some kinds hold far more than their pixels: a progressive JPEG all its
coefficients, an AVIF several copies of the frame. Measured as the peak of a process above its
start, in bytes a pixel and beside the RGBX pixels (4 a pixel, after shrinking):

| image                                      | measured   | counted                         |
|--------------------------------------------|------------|---------------------------------|
| plain JPEG of one scan                     | 0          | 0                               |
| other JPEG: `turbo.check` decodes it whole | 1 or 3     | 3                               |
| progressive JPEG, or of several scans      | 3.0, 4:2:0 | 2 for every sample              |
| PNG                                        | 0          | 0                               |
| PNG, interlaced: 8 bit, 16 bit             | 3.0, 6.0   | its bands, 1 or 2 bytes each    |
| GIF                                        | 3.8        | 4                               |
| WebP, simple lossy                         | 7.5        | 6: see below                    |
| WebP, others                               | 9 to 10    | 8: see below                    |
| TIFF, also in one strip                    | 0          | 0                               |
| TIFF, planes apart                         | 4.0        | its samples + 1                 |
| AVIF, 8 bit                                | 11 to 14   | 6: see below                    |

A progressive JPEG that is recoded (`recode.py`) takes less than is counted: some three times its
file for its data and the recoded ones, of which `recode.KEPT` stay, and a row of blocks. It is
counted as if it were not, because that comes out only on the way.

HEIF and WebP are counted below what they take, because 24 megapixels are what cameras write. Such a
WebP takes a worker that has met every kind of image to 490 MB; such an AVIF takes it to 630 MB, the
one kind that may go beyond 500. There is no room for more: a progressive JPEG of 30 megapixels in
4:4:4 would take that worker to 470 MB, one of 40 to 540, and one of 60 in 4:2:0 to 500.
"""

from __future__ import annotations

import ctypes
from struct import error as StructError
from struct import unpack_from

import numpy as np

from ..catalogue import KIND
from ..errors import SampleError
from ..geometry import Size
from ..kernels import jpegheader as jpeg

MEMORY = 150_000_000
"""Bytes for one image, beside TARGET_BYTES: with the 330 MB of a worker that has met every kind of
image, below 500 MB."""

TARGET_BYTES = 64
"""Bytes a pixel of the target that are always granted: RGBX at 4 x 4 times its area, the most that
shrink-on-load leaves of a photo."""

SCANS = 100
"""Of a JPEG. Encoders write about 10. Every scan visits all blocks, for a few bytes of file: 3,000
of them took 35 s of one 2 MB file. libvips has the same limit (MAX_SCANS in jpeg2vips.c)."""

TRIM = 64_000_000
"""Bytes that an image needs, before which the allocator gives back what it has kept of others. With
32 MB 236 photos as they are peaked 20 MB lower and took 5 % longer: what is given back is cleared
page by page when it is taken again."""

_JPEGS = (KIND["jpeg"], KIND["jpeg_other"])
_PROGRESSIVE = (0xC2, 0xCA)
_WHOLE_FRAME = {KIND["gif"]: 4, KIND["webp"]: 8, KIND["heif"]: 6}
_BITS, _SAMPLES, _PLANAR = 258, 277, 284  # TIFF's tags
_LINES = 1000
"""Bytes a column: libvips holds some lines of the image between any two of its operations. A PNG of
900,000 x 150 took 480 bytes a column, or 1,050 when it was shrunk as well."""

_TAGS = 4096
"""Tags of a TIFF that are looked at; they are sorted by number, and there are some 100 of use."""
_PNG_BANDS = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}  # colour type -> bands, a palette as RGBA


def _coefficients(data: bytes | memoryview) -> int:
    """Bytes that a JPEG takes for its coefficients; 0 where it is decoded row by row.

    Raises SampleError("undecodable") where it has more than SCANS scans.
    """
    view = np.frombuffer(data, np.uint8)
    head = np.zeros(jpeg.FIELDS, np.int64)
    code = jpeg.jpeg_header(view, 0, len(view), head)
    components, samples = int(head[jpeg.COMPONENTS]), 4.0
    if code == jpeg.OK:
        at = int(head[jpeg.HEADER_SIZE]) + 4  # behind marker and length: components of the scan
        if head[jpeg.SOF] not in _PROGRESSIVE and at < len(view) and view[at] >= components:
            return 0
        sampling = int(head[jpeg.SAMPLING])
        factors = [sampling >> 8 * i & 255 for i in range(min(components, 4))]
        most = max(f >> 4 for f in factors) * max(f & 15 for f in factors)
        samples = sum((f >> 4) * (f & 15) for f in factors) / most
    from ..kernels.jpegscans import scans  # loaded for the first that needs it

    if (found := scans(view)) > SCANS:
        raise SampleError("undecodable", f"{found} scans, more than the {SCANS} that are allowed")
    return int(2 * samples * int(head[jpeg.WIDTH]) * int(head[jpeg.HEIGHT]))


def working_bytes(data: bytes | memoryview, kind: int, stored: Size) -> int:
    """Bytes that decoding takes beside the RGBX pixels, as the table above counts them.

    Raises SampleError("undecodable") where a JPEG has too many scans.
    """
    pixels = stored.width * stored.height
    return _frames(data, kind, pixels) + (0 if kind == KIND["jpeg"] else _LINES * stored.width)


def _frames(data: bytes | memoryview, kind: int, pixels: int) -> int:
    if kind in _JPEGS:
        verdict = 0 if kind == KIND["jpeg"] else 3 * pixels  # of turbo.check
        return max(verdict, _coefficients(data))
    if kind == KIND["webp"] and bytes(data[12:16]) == b"VP8 ":
        return 6 * pixels
    if kind in _WHOLE_FRAME:
        return _WHOLE_FRAME[kind] * pixels
    try:
        if kind == KIND["png"]:
            depth, colour, _, _, interlaced = unpack_from(">5B", data, 24)
            return _PNG_BANDS.get(colour, 4) * (2 if depth == 16 else 1) * pixels * bool(interlaced)
        return _planes(data) * pixels
    except StructError:  # a header that libvips has read in another way
        return 0


def _planes(data: bytes | memoryview) -> int:
    """Bytes a pixel of a TIFF whose planes stand apart; 0 of every other. TIFF 6.0, section 2."""
    order = "<" if bytes(data[:2]) == b"II" else ">"
    big = unpack_from(order + "H", data, 2)[0] == 43  # BigTIFF
    at: int = unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count = unpack_from(order + ("Q" if big else "H"), data, at)[0]
    start, entry, value = (at + 8, 20, 12) if big else (at + 2, 12, 8)
    tags: dict[int, int] = {}
    for i in range(min(count, _TAGS)):
        where = start + i * entry
        tags[unpack_from(order + "H", data, where)[0]] = where + value
    if _PLANAR not in tags or unpack_from(order + "H", data, tags[_PLANAR])[0] != 2:
        return 0
    if _SAMPLES not in tags:
        return 0
    samples = int(unpack_from(order + "H", data, tags[_SAMPLES])[0])
    depth = 8
    if _BITS in tags:
        where = tags[_BITS]
        if samples * 2 > value - 4:  # the numbers do not fit in the entry: it says where they are
            where = unpack_from(order + ("Q" if big else "I"), data, where)[0]
        depth = int(unpack_from(order + "H", data, where)[0])
    return samples * -(-depth // 8) + 1


def trim() -> None:
    """Give freed memory back to the system, where the C library can (glibc).

    It keeps pieces of up to 32 MB for itself: after some large images these were 100 MB.
    """
    if (release := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        release(0)
