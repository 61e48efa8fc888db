"""The markers of a JPEG up to its first scan (ITU-T T.81, annex B), read without a decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..geometry import Size

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
BASELINE = 0xC0
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those three are tables, not frames
_DQT, _SOS, _APP0, _APP1, _APP2 = 0xDB, 0xDA, 0xE0, 0xE1, 0xE2
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and RST: no length behind them

_REMEMBERED = 4
"""Headers: a bucket has one size, and of the chroma subsamplings seldom more than two."""

FACTORS = {
    "4:4:4": (0x11, 0x11, 0x11),
    "4:2:2": (0x21, 0x11, 0x11),
    "4:2:0": (0x22, 0x11, 0x11),
}
"""Chroma subsampling -> (horizontal << 4 | vertical) sampling factors of Y, Cb, Cr."""

_RATIOS = {
    (1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1",
}  # fmt: skip
"""Luma samples for one of chroma, across and down -> its name."""


class Header(NamedTuple):
    """What stands before the first scan. frame: marker of the frame header, 0 without one."""

    frame: int
    precision: int
    size: Size
    factors: tuple[int, ...]
    jfif: bool  # an APP0 of JFIF, right after SOI
    exif: bool
    icc: bool
    tables: bytes  # the quantization tables as they stand: they follow from the quality
    clean: bool  # nothing between the segments
    scan: bool  # a scan follows


class Reader:
    """Reads headers and remembers the last ones: what one encoder makes of one size begins alike.

    A header follows from the bytes up to its scan's marker and length, so a JPEG that begins with
    the very same ones has the very same header.
    """

    def __init__(self) -> None:
        self._known: list[tuple[bytes, Header]] = []

    def __call__(self, data: bytes) -> Header | None:
        """What `read` says of it."""
        for start, known in self._known:
            if data.startswith(start):
                return known
        header, end = _read(data)
        if header is not None and header.scan:
            self._known = [(data[: end + 4], header), *self._known[: _REMEMBERED - 1]]
        return header


def read(data: bytes) -> Header | None:
    """The header of a JPEG, as far as it goes; None where it does not begin as one."""
    return _read(data)[0]


def _read(data: bytes) -> tuple[Header | None, int]:
    """The header, and where reading ended: at the marker of the scan, if there is one."""
    if not data.startswith(SOI):
        return None, 0
    frame, precision, size, factors = 0, 0, Size(0, 0), b""
    jfif = exif = icc = scan = False
    clean, tables, at = True, b"", 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:  # a sound JPEG has nothing here; decoders look for the next marker
            clean = False
            at = data.find(b"\xff", at)
            if at < 0:
                break
            continue
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte, allowed before any marker
            at += 1
            continue
        if marker == 0 or marker in _STANDALONE:
            clean = False
            at += 2
            continue
        if marker == _SOS:
            scan = True
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        content = data[at + 4 : end]
        if marker in (0xD8, 0xD9) or end < at + 4 or end > len(data):
            break
        if marker in _FRAMES and len(content) >= 6 and not frame:
            frame, precision = marker, content[0]
            size = Size(int.from_bytes(content[3:5], "big"), int.from_bytes(content[1:3], "big"))
            factors = content[7 : 6 + 3 * content[5] : 3]
        elif marker == _DQT:
            tables += content
        elif marker == _APP0:
            jfif |= at == 2 and content.startswith(b"JFIF\0")
        elif marker == _APP1:
            exif |= content.startswith(b"Exif\0")
        elif marker == _APP2:
            icc |= content.startswith(b"ICC_PROFILE\0")
        at = end
    header = Header(frame, precision, size, tuple(factors), jfif, exif, icc, tables, clean, scan)
    return header, at


def reencoded_flaws(data: bytes, header: Header, subsampling: str) -> Iterator[str]:
    """What a JPEG of this format must not be, by its header and its end."""
    if header.frame != BASELINE or header.precision != 8:
        yield f"frame 0x{header.frame:02X} of {header.precision} bit, not baseline (0xC0) of 8"
    if not header.jfif:
        yield "no JFIF segment behind its start"
    if header.exif:
        yield "carries EXIF"
    if header.icc:
        yield "carries an ICC profile"
    if not header.clean:
        yield "has bytes between the segments of its header"
    if not header.scan:
        yield "has no scan"
    if header.factors != FACTORS.get(subsampling):
        factors = " ".join(f"{f >> 4}x{f & 15}" for f in header.factors)
        yield f"has the sampling factors {factors or '(none)'}, the JSON says {subsampling}"
    if not data.endswith(EOI):
        yield f"ends in {data[-2:].hex()}, not in the end marker ffd9"


def copied_flaws(header: Header, subsampling: str) -> Iterator[str]:
    """What the JSON must not say of a JPEG that is the source's, by its header."""
    chroma = [(factor >> 4, factor & 15) for factor in header.factors]
    found = ""
    if len(chroma) == 3 and all(0 not in factor for factor in chroma):
        (across, down), (by, over), other = chroma
        if (by, over) == other and not (across % by or down % over):
            found = _RATIOS.get((across // by, down // over), "")
    if subsampling != found:
        yield f"has the chroma {found or '(no usual one)'}, the JSON says {subsampling or '(none)'}"
    if not header.scan:
        yield "has no scan"


def pixel_flaws(data: bytes, header: Header) -> Iterator[str]:
    """Decode it all; the first warning of the decoder counts."""
    import simplejpeg  # not for --fast

    colours = {1: "GRAY", 3: "RGB", 4: "CMYK"}.get(len(header.factors), "RGB")
    try:
        shape = simplejpeg.decode_jpeg(data, colours, strict=True).shape
    except (ValueError, RuntimeError, MemoryError) as error:
        yield f"cannot be decoded: {error}"
        return
    if shape[:2] != (header.size.height, header.size.width):
        yield f"decodes to {shape[1]}x{shape[0]} pixels"
