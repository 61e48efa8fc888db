"""ICC profiles: is it sRGB by its numbers, whatever it is called?

Sources: ICC.1:2010 (header, tag table, curv, para), annex B.4 (chunks in JPEG); IEC 61966-2-1 (sRGB
curve); colorants from ICC's own sRGB profiles.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import error as StructError
from struct import unpack, unpack_from

COLORANTS = {
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
"""sRGB's primaries, adapted to D50."""

COLORANT_TOLERANCE = 0.003
"""Common sRGB profiles differ by 0.0016 (rounding, adaptation); Display P3 is 0.08 away."""

CURVE_TOLERANCE = 1 / 255
"""Of the encoded value: one step of 8 bits. A pure gamma of 2.2 is 8 steps away in the darks."""

SAMPLES = (*(i / 64 for i in range(65)), 0.004, 0.008, 0.024, 0.04, 0.055)

_CHANNELS = {b"RGB ": 3, b"GRAY": 1, b"CMYK": 4}
_LUTS = (b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1", b"D2B2")
_MAX_TAGS = 100  # lcms2: MAX_TABLE_TAG

Curve = Callable[[float], float]


CACHED = 32 << 10
"""Bytes of a profile whose class is remembered, and the profile with it: those that cameras and
editors write in every file have 500 to 4,000."""


def classify(profile: bytes, components: int = 0) -> str:
    """One of `catalogue.PROFILES` for an embedded profile.

    none: empty, or so damaged or misplaced that a colour engine ignores it: no ICC header, tags
    that it needs missing, or made for another number of colour channels than `components` (0: not
    checked). srgb: a matrix profile with sRGB's colorants and curves, or a grey one with sRGB's
    curve. other: everything else.
    """
    return (_remembered if len(profile) <= CACHED else _judged)(profile, components)


def _judged(profile: bytes, components: int) -> str:
    try:
        return _classify(profile, components)
    except (StructError, IndexError, ValueError, OverflowError, ZeroDivisionError):
        return "none"


_remembered = lru_cache(maxsize=256)(_judged)


def _classify(profile: bytes, components: int) -> str:
    if len(profile) < 132 or profile[36:40] != b"acsp":
        return "none"
    declared, tags = unpack_from(">I", profile)[0], unpack_from(">I", profile, 128)[0]
    if declared > len(profile) or tags > _MAX_TAGS:
        return "none"
    table: dict[bytes, bytes] = {}
    for i in range(tags):
        name, offset, size = unpack_from(">4sII", profile, 132 + 12 * i)
        if offset + size <= declared:  # lcms passes over the others
            table.setdefault(name, profile[offset : offset + size])
    space, connection = profile[16:20], profile[20:24]
    if components and _CHANNELS.get(space, components) != components:
        return "none"
    if any(lut in table for lut in _LUTS):
        return "other"
    if space == b"GRAY":
        if b"kTRC" not in table:
            return "none"
        return "srgb" if _is_srgb(_curve(table[b"kTRC"])) else "other"
    if space != b"RGB ":
        return "none" if space in _CHANNELS else "other"  # CMYK needs a table
    curves = (b"rTRC", b"gTRC", b"bTRC")
    if connection != b"XYZ " or not all(tag in table for tag in (*COLORANTS, *curves)):
        return "none"
    toned = [_is_srgb(_curve(table[tag])) for tag in curves]  # all: a damaged one is an error
    near = [
        abs(a - b) <= COLORANT_TOLERANCE
        for tag, wanted in COLORANTS.items()
        for a, b in zip(_xyz(table[tag]), wanted, strict=True)
    ]
    return "srgb" if all(toned + near) else "other"


def _xyz(tag: bytes) -> tuple[float, float, float]:
    if tag[:4] != b"XYZ ":
        raise ValueError("no XYZ")
    x, y, z = unpack_from(">iii", tag, 8)
    return x / 65536, y / 65536, z / 65536


def _curve(tag: bytes) -> Curve:
    """The tone curve of a `curv` or `para` tag: encoded value to linear light, both 0 to 1."""
    count = unpack_from(">I", tag, 8)[0]
    if tag[:4] == b"curv":
        if count == 0:
            return lambda x: x
        if count == 1:
            gamma = unpack_from(">H", tag, 12)[0] / 256
            return lambda x: x**gamma
        points = unpack(f">{count}H", tag[12 : 12 + 2 * count])
        return lambda x: _interpolate(points, x)
    if tag[:4] != b"para":
        raise ValueError("no curve")
    function = count >> 16
    parameters = (1, 3, 4, 5, 7)[function]
    values = [v / 65536 for v in unpack_from(f">{parameters}i", tag, 12)]
    g, a, b, c, d, e, f = values + [0.0] * (7 - parameters)
    if function == 0:
        return lambda x: x**g
    # A negative base is a damaged profile's, and no complex number comes of it.
    if function in (1, 2):  # (ax + b)^g + c from -b/a on, else c
        return lambda x: max(a * x + b, 0.0) ** g + c
    if function == 3:
        return lambda x: max(a * x + b, 0.0) ** g if x >= d else c * x
    return lambda x: max(a * x + b, 0.0) ** g + e if x >= d else c * x + f


def _interpolate(points: tuple[int, ...], x: float) -> float:
    at = x * (len(points) - 1)
    i = min(int(at), len(points) - 2)
    return (points[i] + (points[i + 1] - points[i]) * (at - i)) / 65535


def _encode(linear: float) -> float:
    """sRGB's encoding of linear light."""
    linear = min(max(linear, 0.0), 1.0)
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055


def _is_srgb(curve: Curve) -> bool:
    return all(abs(_encode(curve(x)) - x) <= CURVE_TOLERANCE for x in SAMPLES)


def assemble(data: bytes | memoryview, first: int) -> bytes:
    """The ICC profile of a JPEG from its chunks; b"" where they do not fit together.

    `first` is the offset of the first chunk's segment (its 0xFF), jpegheader.ICC_START. All chunks
    from 1 to their common count must be there once, as in libjpeg's jpeg_read_icc_profile.
    """
    chunks: dict[int, bytes] = {}
    counts = set()
    for start, end in _icc_segments(data, first):
        number, count = data[start + 12], data[start + 13]
        if number in chunks:
            return b""
        chunks[number] = bytes(data[start + 14 : end])
        counts.add(count)
    if len(counts) != 1 or sorted(chunks) != list(range(1, counts.pop() + 1)):
        return b""
    return b"".join(chunks[number] for number in sorted(chunks))


def _icc_segments(data: bytes | memoryview, at: int) -> list[tuple[int, int]]:
    """Payloads of the ICC segments from data[at:] to the first scan."""
    found = []
    size = len(data)
    while at + 4 <= size:
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
            at += 1  # fill or garbage
            continue
        marker = data[at + 1]
        if marker in (0xD9, 0xDA):
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        end = at + 2 + max(2, data[at + 2] << 8 | data[at + 3])
        if marker == 0xE2 and end - at >= 18 and data[at + 4 : at + 16] == b"ICC_PROFILE\0":
            found.append((at + 4, min(end, size)))
        at = end
    return found
