"""Small additions to encoded images that leave every pixel as it is: an EXIF tag, a comment."""

from __future__ import annotations

import struct
import zlib

JPEG_START = b"\xff\xd8"
"""SOI: every JPEG begins with it (ITU-T T.81, table B.1)."""

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_HEADER = len(PNG_START) + 25
"""Bytes up to the end of the IHDR chunk, which must come first (W3C PNG, section 5.6)."""

APP1, COM = 0xFFE1, 0xFFFE
ORIENTATION_TAG = 0x0112


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with an EXIF segment of one tag, the orientation (1 to 8), right after SOI."""
    if not 1 <= orientation <= 8:
        raise ValueError(f"orientation {orientation}: EXIF knows 1 to 8")
    entry = struct.pack("<HHIHH", ORIENTATION_TAG, 3, 1, orientation, 0)  # 3 = one 16-bit number
    tiff = struct.pack("<2sHIH", b"II", 42, 8, 1) + entry + struct.pack("<I", 0)
    return _with_segment(jpeg, APP1, b"Exif\0\0" + tiff)


def takes_comment(start: bytes) -> bool:
    """Whether `with_comment` knows the format, by the first 8 bytes of a file."""
    return start.startswith((JPEG_START, PNG_START))


def with_comment(image: bytes, comment: str) -> bytes:
    """The JPEG or PNG with a comment (Latin-1), so that its bytes differ and its pixels do not.

    JPEG: a COM segment right after SOI; PNG: a tEXt chunk right after IHDR.
    """
    text = comment.encode("latin-1")
    if image.startswith(JPEG_START):
        return _with_segment(image, COM, text)
    if image.startswith(PNG_START):
        chunk = b"tEXtComment\0" + text
        sized = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return image[:PNG_HEADER] + sized + image[PNG_HEADER:]
    raise ValueError(f"neither JPEG nor PNG: begins with {image[:8]!r}")


def _with_segment(jpeg: bytes, marker: int, payload: bytes) -> bytes:
    """The JPEG with a segment right after SOI; its length field counts itself, not the marker."""
    if not jpeg.startswith(JPEG_START):
        raise ValueError(f"no JPEG: begins with {jpeg[:8]!r}")
    return JPEG_START + struct.pack(">HH", marker, len(payload) + 2) + payload + jpeg[2:]
