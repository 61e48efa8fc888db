"""Huffman codes of JPEG: tables to read them by, and what a writer appends. ITU-T T.81, annex C."""

from __future__ import annotations

import numpy as np
from numba import njit, types

from .bits import uint16

LOOK = 9
"""Bits of the stream that one look tells a symbol by: hardly a code that occurs is longer."""

LONGEST = 16

LIMITS = 1 << LOOK
SYMBOLS = LIMITS + 2 * (LONGEST + 1)
TABLE = SYMBOLS + 256
"""Elements of a table, and what stands in it where: see read_table."""

NO_CODE = 0
"""What `symbol` says of bits that are no code."""


@njit(
    types.boolean(
        types.Array(types.uint8, 1, "C", readonly=True),
        types.Array(types.uint8, 1, "C", readonly=True),
        types.uint16[::1],
    ),
    nogil=True,
    cache=True,
)
def read_table(counts, symbols, table):
    """Make a table to read by; False where the lengths are those of no code.

    counts: uint8 (16,), how many codes have each length; symbols: uint8 (n,), in order of their
    codes. table: uint16 (TABLE,): length << 8 | symbol by the next LOOK bits, 0 where the code is
    longer or none; from LIMITS on by length the first 16 bits that begin no code so short, and
    what makes a code of this length the index of its symbol; from SYMBOLS on those.
    """
    code = np.int64(0)
    index = np.int64(0)
    table[:] = 0
    for size in range(1, LONGEST + 1):
        count = np.int64(counts[size - 1])
        # libjpeg, too, keeps the code of ones alone free.
        if code + count >= 1 << size or index + count > min(len(symbols), 256):
            return False
        if size <= LOOK:
            for i in range(count):
                first = (code + i) << (LOOK - size)
                for at in range(first, first + (1 << (LOOK - size))):
                    table[at] = size << 8 | np.int64(symbols[index + i])
        at = LIMITS + 2 * size
        table[at + 1] = (index - code) & 0xFFFF
        for i in range(index, index + count):
            table[SYMBOLS + i] = symbols[i]
        index += count
        code += count
        table[at] = code << (LONGEST - size)
        code <<= 1
    return True


@njit(nogil=True, forceinline=True)
def symbol(word, table):
    """length << 8 | symbol of the code at the top of a uint64, or NO_CODE. table: an address."""
    entry = uint16(table, np.int64(word >> np.uint64(64 - LOOK)))
    return entry if entry else _long(word, table)


@njit(nogil=True)
def _long(word, table):
    code = np.int64(word >> np.uint64(64 - LONGEST))
    for size in range(LOOK + 1, LONGEST + 1):
        at = LIMITS + 2 * size
        if code < uint16(table, at):
            index = (code >> (LONGEST - size)) + uint16(table, at + 1) & 255
            return size << 8 | uint16(table, SYMBOLS + index)
    return np.int64(NO_CODE)


def codes(counts: bytes, symbols: bytes) -> np.ndarray:
    """uint32 (256,) by symbol: (code and room for the bits that follow it) << 5 | size of both."""
    made = np.zeros(256, np.uint32)
    code = index = 0
    for size, count in enumerate(counts, 1):
        for value in symbols[index : index + count]:
            low = value & 15
            made[value] = code << low << 5 | size + low
            code += 1
        index += count
        code <<= 1
    return made
