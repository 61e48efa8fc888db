"""The scans of a progressive JPEG, all at once, band by band. ITU-T T.81, annex G.

A decoder that takes one scan after the other visits all blocks of the image in each of some ten
scans, 128 bytes a block. Here every scan is read on by one band, the blocks of a row of MCUs, which
stay in the L2 cache until the last scan has seen them. And a mask says which coefficients of a
block are there, so that no zero is looked at: where a scan refines, libjpeg asks each of 63.

Whatever is in the least doubt is a FLAW, and the JPEG is left to libjpeg-turbo.

recode compiles these functions, like those of huffman and sequential, into its own kernel, and
numba's cache looks at the text of one file only: after a change here, remove __pycache__.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .bits import deposit, first_bits, int16, leading, ones, refill, resume, set_int16
from .huffman import NO_CODE, TABLE, symbol

# Rows of a frame's int64 (components, FRAME).
H = 0  # blocks of an MCU, across
V = 1  # and down
WIDTH = 2  # blocks of the component, across
HEIGHT = 3  # and down
ACROSS = 4  # blocks of a band's row, with those that fill up the last MCU
FIRST = 5  # the component's first block in a band
FRAME = 6

# Of a scan's int64 (SCAN,).
COUNT = 0  # components
COMPONENT = 1  # their numbers in the frame, 1 to 4
START = 5  # first and
STOP = 6  # last coefficient, in zigzag order
HIGH = 7  # bits that are known (0: none), and
LOW = 8  # the bit that it tells, or the lowest of those
TABLES = 9  # Huffman table of each component
AT = 13  # bit that is read next, and
END = 14  # bit behind the last, of the data of all scans
BLANK = 15  # blocks to come without a new coefficient (EOBRUN)
BEFORE = 16  # DC of each component's block before
SCAN = 20

OK, FLAW = 0, 1

TOP = np.uint64(1 << 63)
"""The bit of coefficient 0 in a mask of those that are there; coefficient 63 has the lowest."""

MOST, MOST_DC = 10, 11
"""Bits of an AC coefficient, and of a difference of DC coefficients, for which there are codes in
the tables that `sequential` writes with."""


@njit(nogil=True, forceinline=True)
def extended(value, size):
    """The number that `size` (1 or more) bits stand for: T.81, table F.1."""
    return value if value >> (size - 1) else value - (1 << size) + 1


@njit(nogil=True, boundscheck=False)
def dc(data, scan, frame, band, mcus, coefficients, tables):
    """A DC scan's part of a band: OK or FLAW. data, coefficients and tables are addresses.

    A scan of one component leaves out the blocks that fill up the last MCU: they stay 0, and no
    decoder shows them.
    """
    single, low, refines = scan[COUNT] == 1, scan[LOW], scan[HIGH] > 0
    word, have, at = resume(data, scan[AT])
    end = 8 * data + scan[END]
    lines, units = np.int64(1), mcus
    if single:
        of = scan[COMPONENT]
        lines = min(frame[of, V], frame[of, HEIGHT] - band * frame[of, V])
        units = frame[of, WIDTH]
    for line in range(lines):
        for unit in range(units):
            for c in range(scan[COUNT]):
                of = scan[COMPONENT + c]
                h, v, across = frame[of, H], frame[of, V], frame[of, ACROSS]
                if single:
                    h, v = np.int64(1), np.int64(1)
                before, table = scan[BEFORE + c], tables + 2 * TABLE * scan[TABLES + c]
                block = 64 * (frame[of, FIRST] + line * across + unit * h)
                if 8 * at - have > end:
                    return FLAW
                for _ in range(v):
                    for x in range(h):
                        word, have, at = refill(word, have, at)
                        if refines:
                            bit = np.int64(word >> np.uint64(63)) << low
                            old = int16(coefficients, block + 64 * x)
                            set_int16(coefficients, block + 64 * x, old | bit)
                            word, have = word << np.uint64(1), have - 1
                            continue
                        entry = symbol(word, table)
                        code, size = entry >> 8, entry & 255
                        if entry == NO_CODE or size > MOST_DC:
                            return FLAW
                        word <<= np.uint64(code)
                        if size:
                            before += extended(first_bits(word, size), size)
                        word, have = word << np.uint64(size), have - code - size
                        if not -0x8000 <= before << low < 0x8000:
                            return FLAW
                        set_int16(coefficients, block + 64 * x, before << low)
                    block += 64 * across
                scan[BEFORE + c] = before
    scan[AT] = 8 * (at - data) - have
    return OK


@njit(nogil=True, boundscheck=False)
def ac_first(data, scan, of, band, coefficients, masks, table):
    """The first scan of some AC coefficients of one component: OK or FLAW. Addresses: data,
    coefficients, table; `of` is the component's row of the frame."""
    start, stop, low, blank = scan[START], scan[STOP], scan[LOW], scan[BLANK]
    word, have, at = resume(data, scan[AT])
    end, most = 8 * data + scan[END], MOST - low
    for line in range(min(of[V], of[HEIGHT] - band * of[V])):
        block, after = of[FIRST] + line * of[ACROSS], of[FIRST] + line * of[ACROSS] + of[WIDTH]
        while block < after:
            if blank:
                passed = min(blank, after - block)
                blank, block = blank - passed, block + passed
                continue
            if 8 * at - have > end:
                return FLAW
            k, mask = start, np.uint64(0)
            while k <= stop:
                word, have, at = refill(word, have, at)
                entry = symbol(word, table)
                code, run, size = entry >> 8, entry >> 4 & 15, entry & 15
                word <<= np.uint64(code)
                if size:
                    k += run
                    if k > stop or size > most:
                        return FLAW
                    value = extended(first_bits(word, size), size)
                    word, have = word << np.uint64(size), have - code - size
                    set_int16(coefficients, 64 * block + k, value << low)
                    mask |= TOP >> np.uint64(k)
                    k += 1
                elif entry == NO_CODE:
                    return FLAW
                elif run == 15:
                    have -= code
                    k += 16
                else:
                    blank = (1 << run) + first_bits(word, run) - 1
                    word, have = word << np.uint64(run), have - code - run
                    break
            masks[block] |= mask
            block += 1
    scan[AT], scan[BLANK] = 8 * (at - data) - have, blank
    return OK


@njit(nogil=True)
def _many(word, have, at, many):
    """As many bits, more than are in the word: the bits, as a uint64, and what follows them."""
    word, have, at = refill(word, have, at)
    high = np.uint64(first_bits(word, 32))
    word, have, at = refill(word << np.uint64(32), have - 32, at)
    rest = many - 32
    low = np.uint64(first_bits(word, rest))
    return high << np.uint64(rest) | low, word << np.uint64(rest), have - rest, at


@njit(nogil=True, forceinline=True)
def _told(word, have, at, there):
    """A bit for each coefficient of a mask: those that are told 1, and what follows the bits. At
    most 17 bits were taken since the last refill: more than the word has are more than 32."""
    many = ones(there)
    if many > have:
        bits, word, have, at = _many(word, have, at, many)
        return deposit(bits, there), word, have, at
    bits = np.uint64(first_bits(word, many))
    return deposit(bits, there), word << np.uint64(many), have - many, at


@njit(nogil=True, boundscheck=False)
def ac_again(data, scan, of, band, coefficients, masks, table):
    """A scan that tells one more bit of some AC coefficients of one component: OK or FLAW.
    Arguments are those of `ac_first`."""
    start, stop, low, blank = scan[START], scan[STOP], scan[LOW], scan[BLANK]
    word, have, at = resume(data, scan[AT])
    end = 8 * data + scan[END]
    whole = (~np.uint64(0) >> np.uint64(start)) & (~np.uint64(0) << np.uint64(63 - stop))
    for line in range(min(of[V], of[HEIGHT] - band * of[V])):
        first = of[FIRST] + line * of[ACROSS]
        for block in range(first, first + of[WIDTH]):
            if 8 * at - have > end:
                return FLAW
            mask = masks[block]
            old, told = mask & whole, np.uint64(0)
            absent = ~mask & whole
            while not blank and (absent | old):
                word, have, at = refill(word, have, at)
                entry = symbol(word, table)
                code, run, size = entry >> 8, entry >> 4 & 15, entry & 15
                word, have = word << np.uint64(code), have - code
                if not size and run < 15:
                    if entry == NO_CODE:
                        return FLAW
                    blank = (1 << run) + first_bits(word, run)
                    word, have = word << np.uint64(run), have - run
                    break
                many = ones(absent)
                if size > 1 or run >= many:
                    return FLAW
                # The place is that of the absent one behind `run` others.
                place = deposit(np.uint64(1) << np.uint64(many - 1 - run), absent)
                passed = old & ~(place - np.uint64(1))
                old ^= passed
                absent &= place - np.uint64(1)
                if size:
                    positive = np.int64(word >> np.uint64(63))
                    word, have = word << np.uint64(1), have - 1
                    set_int16(coefficients, 64 * block + leading(place), (2 * positive - 1) << low)
                    mask |= place
                more, word, have, at = _told(word, have, at, passed)
                told |= more
            if blank:
                blank -= 1
                word, have, at = refill(word, have, at)
                more, word, have, at = _told(word, have, at, old)
                told |= more
            masks[block] = mask
            while told:
                k = leading(told)
                told ^= TOP >> np.uint64(k)
                value = int16(coefficients, 64 * block + k)
                sign = value >> 63
                set_int16(coefficients, 64 * block + k, value + ((1 << low ^ sign) - sign))
    scan[AT], scan[BLANK] = 8 * (at - data) - have, blank
    return OK
