"""The header of a JPEG, SOI to SOS, read in place, or piece by piece through a window.

Sources: ITU-T T.81 annex B (markers), JFIF 1.02, ICC.1 annex B.4 (chunks), and libjpeg-turbo's
jdmarker.c and jdapimin.c for what a decoder makes of damage and of colour.

tarwalk compiles these functions into its own kernel, and numba's cache looks at the text of one
file only: after a change here, remove __pycache__.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

from .exif import orientation_of
from .signature import BYTES

# Columns of the result, int64.
WIDTH = 0
HEIGHT = 1
COMPONENTS = 2
PRECISION = 3  # bits a sample
SOF = 4  # low byte of the marker: 0xC0 baseline, 0xC1 extended, 0xC2 progressive, 0xC3 lossless
SAMPLING = 5  # (h << 4) | v of components 0 to 3, component 0 in the lowest byte
COLOUR = 6  # one of the COLOUR_ codes
CHROMA = 7  # (h << 4) | v: luma samples for one of chroma; 0: grey, or no whole ratio
PLAIN = 8  # 1: libjpeg-turbo's simple interface reads it
ORIENTATION = 9  # EXIF, 1 to 8
JFIF = 10  # 1: seen
ADOBE = 11  # transform of APP14: 0, 1 or 2; -1: no such segment
ICC_START = 12  # first byte (0xFF) of the first ICC chunk's segment, from start; -1: none
ICC_CHUNKS = 13
HEADER_SIZE = 14  # bytes before the first scan's marker
FIELDS = 15

SOF2 = 0xC2  # in column SOF: progressive, Huffman

# How far the reading has come, int64.
AT = 0  # bytes from the start of the JPEG: nothing before is needed any more
NEEDED = 1  # bytes from AT on without which it does not go on
EXIF = 2  # 1: an Exif segment was read, and only the first counts
IDS = 3  # ids of 3 components, the first in the lowest byte
PROGRESS = 4

COLOUR_UNKNOWN, COLOUR_GREY, COLOUR_YCC, COLOUR_RGB, COLOUR_CMYK, COLOUR_YCCK = 0, 1, 2, 3, 4, 5

OK = 0
NOT_JPEG = 1
SHORT = 2
BAD_LENGTH = 3
BAD_MARKER = 4
NO_SOF = 5
TWO_SOF = 6
EMPTY = 7
BAD_SAMPLING = 8
NO_SCAN = 9
UNSUPPORTED_SOF = 10
MORE = 11  # bytes are needed that are not here yet; never of a whole file

ERRORS = {
    NOT_JPEG: "no JPEG signature",
    SHORT: "ends before the first scan",
    BAD_LENGTH: "a header segment has an impossible length",
    BAD_MARKER: "an unknown marker in the header",
    NO_SOF: "a scan without a frame header",
    TWO_SOF: "two frame headers",
    EMPTY: "width, height or number of components is 0",
    BAD_SAMPLING: "a sampling factor is not 1 to 4",
    NO_SCAN: "ends without a scan",
    UNSUPPORTED_SOF: "a frame type that no decoder supports",
}


@njit(nogil=True, forceinline=True)
def _u16(data: np.ndarray, at: int) -> int:
    return int(np.int64(data[at]) << 8 | np.int64(data[at + 1]))


@njit(nogil=True, forceinline=True)
def _starts(data: np.ndarray, at: int, text: np.ndarray) -> bool:
    """Whether data[at:] starts with the bytes `text`; the caller knows that there are as many."""
    for i in range(len(text)):  # noqa: SIM110 - numba has no all() of a generator
        if data[at + i] != text[i]:
            return False
    return True


_EXIF = np.frombuffer(b"Exif\0\0", np.uint8)
_JFIF = np.frombuffer(b"JFIF\0", np.uint8)
_ADOBE = np.frombuffer(b"Adobe", np.uint8)
_ICC = np.frombuffer(b"ICC_PROFILE\0", np.uint8)


@njit(nogil=True, forceinline=True)
def _frame(data: np.ndarray, at: int, end: int, out: np.ndarray) -> int:
    """Reads the frame header whose length field stands at data[at]; OK or an error."""
    if at + 8 > end:
        return SHORT
    length = _u16(data, at)
    count = np.int64(data[at + 7])
    if length != 8 + 3 * count:
        return BAD_LENGTH
    if at + length > end:
        return SHORT
    out[PRECISION] = data[at + 2]
    out[HEIGHT] = _u16(data, at + 3)
    out[WIDTH] = _u16(data, at + 5)
    out[COMPONENTS] = count
    if out[HEIGHT] == 0 or out[WIDTH] == 0 or count == 0:
        return EMPTY
    for i in range(count):
        factors = np.int64(data[at + 9 + 3 * i])
        if not (1 <= factors >> 4 <= 4 and 1 <= factors & 15 <= 4):
            return BAD_SAMPLING
        if i < 4:
            out[SAMPLING] |= factors << (8 * i)
    return OK


@njit(nogil=True)
def _judge(out: np.ndarray, ids: int) -> None:
    """Fills COLOUR (libjpeg's default_decompress_parms), CHROMA and PLAIN. ids: 3 component ids,
    the first in the lowest byte."""
    count, sof = out[COMPONENTS], out[SOF]
    lossless = sof == 0xC3 or sof == 0xCB
    if count == 1:
        out[COLOUR] = COLOUR_GREY
    elif count == 3:
        if out[JFIF]:
            rgb = False
        elif out[ADOBE] >= 0:
            rgb = out[ADOBE] == 0
        else:
            rgb = ids == 0x424752 or lossless  # 'R', 'G', 'B'
        out[COLOUR] = COLOUR_RGB if rgb else COLOUR_YCC
    elif count == 4:
        out[COLOUR] = COLOUR_YCCK if out[ADOBE] > 0 else COLOUR_CMYK
    usual = count == 1
    if count == 3:
        luma, chroma = out[SAMPLING] & 255, out[SAMPLING] >> 8 & 255
        h, v, ch, cv = luma >> 4, luma & 15, chroma >> 4, chroma & 15
        if out[SAMPLING] >> 16 == chroma and h % ch == 0 and v % cv == 0:
            ratio = (h // ch) << 4 | (v // cv)
            out[CHROMA] = ratio
            # turbojpeg.c, getSubsamp: ratios it has a name for, and how they may be written.
            if ratio == 0x11:
                usual = h * v <= 3
            else:
                named = ratio == 0x21 or ratio == 0x22 or ratio == 0x12 or ratio == 0x41
                usual = named and (chroma == 0x11 or luma == 0x22)
    colour = out[COLOUR] == COLOUR_GREY or out[COLOUR] == COLOUR_YCC
    out[PLAIN] = out[PRECISION] == 8 and 0xC0 <= sof <= 0xC2 and colour and usual


@njit(nogil=True, forceinline=True)
def begin(out: np.ndarray, progress: np.ndarray) -> None:
    """Makes int64 (FIELDS or more,) and (PROGRESS,) ready for read_on."""
    for i in range(FIELDS):
        out[i] = 0
    out[ORIENTATION] = 1
    out[ADOBE] = -1
    out[ICC_START] = -1
    progress[AT] = progress[EXIF] = progress[IDS] = 0
    progress[NEEDED] = 3


@njit(nogil=True, forceinline=True)
def _stop(progress: np.ndarray, at: int, needed: int) -> int:
    progress[AT], progress[NEEDED] = at, needed
    return MORE


@njit(nogil=True, forceinline=True)
def read_on(
    data: np.ndarray, start: int, have: int, end: int, out: np.ndarray, progress: np.ndarray
) -> int:
    """Reads on in the header of the JPEG data[start:end], of which data[:have] is here.

    data: uint8; bytes before start + progress[AT] are not looked at, so start may be negative. OK,
    the code of an error, or MORE: call again with bytes AT to AT + NEEDED - 1 of the JPEG (as far
    as it has them). A segment that says nothing here is skipped and not asked for.
    """
    at = start + progress[AT]
    have = min(have, end)
    if at == start:
        if end - start < 3:
            return NOT_JPEG
        if have - start < 3:
            return int(_stop(progress, 0, 3))
        if data[at] != 0xFF or data[at + 1] != 0xD8 or data[at + 2] != 0xFF:
            return NOT_JPEG
        at += 2
    while True:
        while True:  # to the next marker: 0xFF, fill bytes, and neither 0xFF nor 0
            while at < have and data[at] != 0xFF:
                at += 1
            if at >= have:
                return SHORT if have == end else int(_stop(progress, at - start, 1))
            while at < have and data[at] == 0xFF:
                at += 1
            if at >= have:
                return SHORT if have == end else int(_stop(progress, at - 1 - start, 2))
            if data[at] != 0:
                break
        begun = at - 1 - start
        marker = np.int64(data[at])
        at += 1
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue  # TEM and RST carry nothing
        if marker == 0xD9:
            return NO_SCAN
        application = 0xE0 <= marker <= 0xEF or marker == 0xFE
        frame = 0xC0 <= marker <= 0xCF and marker != 0xC4 and marker != 0xCC
        table = marker == 0xC4 or marker == 0xCC or 0xDA <= marker <= 0xDD
        if not (application or frame or table):
            return BAD_MARKER
        if at + 2 > have:
            return SHORT if have == end else int(_stop(progress, begun, 4))
        length = _u16(data, at)
        if length < 2:
            if not application:
                return BAD_LENGTH
            length = 2  # libjpeg lets this pass
        looked_at = length if frame else min(length, 18 if application else 2)
        if min(at + looked_at, end) > have:
            return int(_stop(progress, begun, 2 + looked_at))
        if frame:
            if marker == 0xC8 or 0xC5 <= marker <= 0xC7 or marker >= 0xCD:
                return UNSUPPORTED_SOF
            if out[SOF]:
                return TWO_SOF
            code: int = _frame(data, at, end, out)
            if code != OK:
                return code
            out[SOF] = marker
            if out[COMPONENTS] == 3:
                for i in range(3):
                    progress[IDS] |= np.int64(data[at + 8 + 3 * i]) << (8 * i)
        if at + length > end:
            return SHORT
        if marker == 0xDA:
            if out[SOF] == 0:
                return NO_SOF
            out[HEADER_SIZE] = begun
            _judge(out, progress[IDS])
            return OK
        payload = at + 2
        size = length - 2
        if marker == 0xE0:
            if size >= 14 and _starts(data, payload, _JFIF):
                out[JFIF] = 1
        elif marker == 0xE1:
            if not progress[EXIF] and size >= 6 and _starts(data, payload, _EXIF):
                orientation = orientation_of(data, payload + 6, at + length, have)
                if orientation == 0:
                    return int(_stop(progress, begun, 2 + length))
                progress[EXIF], out[ORIENTATION] = 1, orientation
        elif marker == 0xE2:
            if size >= 14 and _starts(data, payload, _ICC):
                if out[ICC_CHUNKS] == 0:
                    out[ICC_START] = begun
                out[ICC_CHUNKS] += 1
        elif marker == 0xEE and size >= 12 and _starts(data, payload, _ADOBE):
            out[ADOBE] = data[payload + 11]
        at += length


@njit(types.int64(BYTES, types.int64, types.int64, types.int64[::1]), nogil=True, cache=True)
def jpeg_header(data: np.ndarray, start: int, end: int, out: np.ndarray) -> int:
    """Reads the header of the JPEG data[start:end]; OK or the code of an error (see ERRORS).

    data: uint8 (n,); start, end: bytes, 0 <= start <= end <= n; out: int64 (FIELDS or more,),
    filled with what was found up to an error. Looks at no byte behind the first SOS segment, nor
    outside data[start:end]. Fill bytes and garbage between segments are skipped as libjpeg skips
    them.
    """
    progress = np.empty(PROGRESS, np.int64)
    begin(out, progress)
    return int(read_on(data, start, end, end, out, progress))
