"""Harmless flaws of JPEGs, mended in a copy.

Both decoders are strict: they stop at the first warning. Some warnings are about flaws that cost
nothing. Rather than trusting a lenient decoder to tell them from damage, the flaw is taken out of
a copy and the copy must pass the strict decoder: what passes has lost nothing.

| flaw                                               | mended by                          |
|----------------------------------------------------|------------------------------------|
| no end marker (sequential JPEGs only: in a         | appending one; data that is cut    |
| progressive one whole scans may be missing)        | short still fails                  |
| bytes between the segments of the header           | leaving them out                   |
| restart markers out of step                        | numbering them anew                |
| ICC chunks whose numbers make no profile           | leaving them out                   |
"""

from __future__ import annotations

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOS = 0xDA
_SEQUENTIAL = (0xC0, 0xC1)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ICC = b"ICC_PROFILE\0"
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})


def mended(data: bytes | memoryview) -> bytes | None:
    """A copy without the flaws above; None where it has none of them, or is no JPEG at all."""
    raw = bytes(data)
    if not raw.startswith(_SOI):
        return None
    head, at, frame = _clean_header(raw)
    if at < 0:
        return None
    scans = raw[at:]
    if frame in _SEQUENTIAL:
        end = scans.rfind(_EOI)
        scans = scans if end >= 0 else scans.rstrip(b"\xff") + _EOI
        scans = _renumbered(scans)
    whole = head + scans
    return whole if whole != raw else None


def _clean_header(raw: bytes) -> tuple[bytes, int, int]:
    """The segments up to the first SOS without what lies between them.

    Returns (header, position of the first SOS, marker of the frame); the position is -1 where the
    header does not reach an SOS.
    """
    parts, at, frame = [_SOI], 2, 0
    profile: list[bytes] = []
    while True:
        at = raw.find(b"\xff", at)
        while 0 <= at < len(raw) - 1 and raw[at + 1] == 0xFF:
            at += 1
        if at < 0 or at + 4 > len(raw):
            return b"", -1, 0
        marker = raw[at + 1]
        if marker == _SOS:
            if sorted(chunk[16:18] for chunk in profile) != _numbers(len(profile)):
                parts = [part for part in parts if part not in profile]
            return b"".join(parts), at, frame
        if marker == 0 or marker in _STANDALONE:
            at += 2
            continue
        if marker in _FRAMES:
            frame = marker
        size = 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
        if marker in (0xD8, 0xD9) or size < 4:
            return b"", -1, 0
        parts.append(raw[at : at + size])
        if marker == 0xE2 and parts[-1][4:16] == _ICC:
            profile.append(parts[-1])
        at += size


def _numbers(count: int) -> list[bytes]:
    """What a profile of so many chunks has as the number and the count of each."""
    return [bytes([number, count]) for number in range(1, count + 1)] if count < 256 else []


def _renumbered(scans: bytes) -> bytes:
    """The scans with RST0, RST1, ... in step, beginning anew after each SOS."""
    out, at, number = bytearray(scans), 0, 0
    while True:
        at = scans.find(b"\xff", at)
        if at < 0 or at + 1 >= len(scans):
            return bytes(out)
        marker = scans[at + 1]
        if marker == 0xD9:
            return bytes(out)
        if 0xD0 <= marker <= 0xD7:
            out[at + 1] = 0xD0 + number
            number = (number + 1) % 8
            at += 2
        elif marker in (0x00, 0xFF):
            at += 2 if marker == 0 else 1
        else:  # a segment between scans, or the next SOS
            number = 0
            at += 2 + int.from_bytes(scans[at + 2 : at + 4], "big")
