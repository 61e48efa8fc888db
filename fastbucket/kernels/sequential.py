"""A band of coefficients as the coded data of a sequential JPEG. ITU-T T.81, annex F.1.2."""

from __future__ import annotations

import numpy as np
from numba import njit

from .bits import clear, has_ff, int16, leading, poke, uint32
from .progressive import ACROSS, FIRST, FLAW, MOST_DC, OK, H, V
from .vectors import address

# Of a writer's int64 (WRITER,).
TO = 0  # next byte of the output
WORD = 1  # bits that wait for it, in the low end, and
FREE = 2  # 64 less their number
BEFORE = 3  # DC of each component's block before
WRITER = 7

BLOCK = 64 * 26 // 8 * 2 + 48
"""Bytes that a block can take: 64 codes of 16 and 10 bits with a zero behind each byte. And what
comes behind the last one: a word that waited and is stuffed too, what `poke` stores beyond it, the
end marker."""


@njit(nogil=True)
def _stuffed(at, word):
    """Store 8 bytes at an address, and a zero behind each FF."""
    for shift in range(56, -8, -8):
        byte = word >> np.uint64(shift) & np.uint64(255)
        poke(at, byte << np.uint64(56))  # and seven zeros, which the next ones replace
        at += 2 if byte == np.uint64(255) else 1
    return at


@njit(nogil=True, forceinline=True)
def _put(to, word, free, bits, count):
    """Append `count` (0 to 26) bits: the new (to, word, free)."""
    free -= count
    if free >= 0:
        return to, word << np.uint64(count) | np.uint64(bits), free
    word = word << np.uint64(count + free) | np.uint64(bits >> -free)
    if has_ff(word):
        to = _stuffed(to, word)
    else:
        poke(to, word)
        to += 8
    return to, np.uint64(bits), free + 64


@njit(nogil=True, boundscheck=False)
def write(out, writer, frame, mcus, coefficients, masks, codes):
    """Append a band to `out`, and clear it: OK or FLAW.

    codes: address of uint32 (components, 2, 256), `huffman.codes` for DC and for AC.
    """
    last = address(out) + len(out) - BLOCK
    to, word, free = address(out) + writer[TO], np.uint64(writer[WORD]), writer[FREE]
    for mcu in range(mcus):
        for c in range(len(frame)):
            h, v, across = frame[c, H], frame[c, V], frame[c, ACROSS]
            before, first = writer[BEFORE + c], frame[c, FIRST] + mcu * h
            dc, ac = codes + 2048 * c, codes + 2048 * c + 1024
            for _ in range(v):
                for block in range(first, first + h):
                    if to > last:
                        return FLAW
                    at = coefficients + 128 * block
                    value = int16(at, 0)
                    before, value = value, value - before
                    sign = value >> 63
                    size = 64 - leading(np.uint64((value ^ sign) - sign))
                    if size > MOST_DC:
                        return FLAW
                    code = uint32(dc, size)
                    bits = value + sign & (1 << size) - 1
                    to, word, free = _put(to, word, free, code >> 5 | bits, code & 31)
                    mask, k = masks[block] << np.uint64(1), np.int64(0)
                    masks[block] = 0
                    while mask:
                        run = leading(mask)
                        mask = mask << np.uint64(run) << np.uint64(1)
                        k += run + 1
                        while run > 15:
                            code, run = uint32(ac, 0xF0), run - 16
                            to, word, free = _put(to, word, free, code >> 5, code & 31)
                        value = int16(at, k)
                        sign = value >> 63
                        size = 64 - leading(np.uint64((value ^ sign) - sign))
                        code = uint32(ac, run << 4 | size)
                        bits = value + sign & (1 << size) - 1
                        to, word, free = _put(to, word, free, code >> 5 | bits, code & 31)
                    if k < 63:
                        code = uint32(ac, 0)
                        to, word, free = _put(to, word, free, code >> 5, code & 31)
                    clear(at)
                first += across
            writer[BEFORE + c] = before
    writer[TO], writer[WORD], writer[FREE] = to - address(out), np.int64(word), free
    return OK


@njit(nogil=True)
def finish(out, writer):
    """Append what waits, filled up with ones to a whole byte: the end of the output."""
    start, word = address(out), np.uint64(writer[WORD])
    at, word, free = _put(start + writer[TO], word, writer[FREE], np.int64(127), np.int64(7))
    to, waiting = at - start, 64 - free
    while waiting >= 8:
        waiting -= 8
        byte = word >> np.uint64(waiting) & np.uint64(255)
        out[to] = byte
        to += 1
        if byte == 255:
            out[to] = 0
            to += 1
    return to
