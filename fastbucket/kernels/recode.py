"""The coded data of a progressive JPEG as that of a sequential one, the same coefficients."""

from __future__ import annotations

import numpy as np
from numba import njit, types

from .bits import has_ff, peek, poke
from .huffman import TABLE
from .progressive import AT, COMPONENT, END, FLAW, HIGH, START, TABLES, ac_again, ac_first, dc
from .sequential import FREE, TO, WRITER, finish, write
from .signature import BYTES
from .vectors import address

SLACK = 1024
"""Bytes behind the data of the scans: before it is asked whether they went too far, at most 63
codes of 31 bits are read (a block), or 10 of 27 (an MCU's DC), and a reader loads 8 bytes ahead."""


@njit(
    types.UniTuple(types.int64, 2)(BYTES, types.int64, types.uint8[::1], types.int64),
    nogil=True,
    cache=True,
)
def unstuff(data, at, bits, to):
    """Copy entropy-coded data without the zeros behind its FFs: the place of the marker that ends
    it, -1 if none does, and the end of the copy.

    data: uint8 (n,), from `at` on; bits: uint8 with room for all of that, and 8 bytes more, from
    `to` on.
    """
    source, target, last = address(data), address(bits), len(data) - 10
    while at + 1 < len(data):
        while at <= last:  # so that at + 1 is one of the bytes behind it
            word = peek(source + at)
            if has_ff(word):
                break
            poke(target + to, word)
            at, to = at + 8, to + 8
        byte = data[at]
        if byte == 0xFF:
            if data[at + 1]:
                return at, to
            at += 1
        bits[to] = byte
        to += 1
        at += 1
    return np.int64(-1), to


@njit(
    types.int64(
        types.uint8[::1],
        types.int64[:, ::1],
        types.int64[:, ::1],
        types.int64,
        types.int64,
        types.int16[:, ::1],
        types.uint64[::1],
        types.uint16[:, ::1],
        types.uint32[:, :, ::1],
        types.uint8[::1],
        types.int64,
    ),
    nogil=True,
    cache=True,
    boundscheck=False,
)
def recode(bits, scans, frame, mcus, bands, coefficients, masks, tables, codes, out, to):
    """Append the data of the one sequential scan to `out`: its end, or 0 where there is a flaw.

    bits: uint8 (n + SLACK,), data of the scans, unstuffed. scans: int64 (scans, SCAN); frame: int64
    (components, FRAME): as the names in `progressive` say, and within what is here, which the
    caller sees to. mcus: across; bands: rows of them. coefficients: int16 (blocks of a band, 64),
    masks: uint64 (blocks of a band,): zeros, and zeros again after a JPEG without a flaw. tables:
    uint16 (tables, TABLE), of `huffman.read_table`; codes: uint32 (components, 2, 256). out: uint8,
    from `to` on; it is a flaw where it is too small.

    The first scan must be one of DC coefficients: it takes a bit a block at least, so that all of
    this ends when the data do.
    """
    data, block, table = address(bits), address(coefficients), address(tables)
    writer = np.zeros(WRITER, np.int64)
    writer[TO], writer[FREE] = to, 64
    for band in range(bands):
        for scan in scans:
            of, its = frame[scan[COMPONENT]], table + 2 * TABLE * scan[TABLES]
            if scan[START] == 0:
                said = dc(data, scan, frame, band, mcus, block, table)
            elif scan[HIGH]:
                said = ac_again(data, scan, of, band, block, masks, its)
            else:
                said = ac_first(data, scan, of, band, block, masks, its)
            if said == FLAW:
                return 0
        if write(out, writer, frame, mcus, block, masks, address(codes)) == FLAW:
            return 0
    for scan in scans:  # to the last byte, as libjpeg wants it
        if not scan[END] - 8 < scan[AT] <= scan[END]:
            return 0
    return int(finish(out, writer))
