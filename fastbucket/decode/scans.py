"""The segments of a progressive JPEG, and whether its scans tell all of it, in order.

Sources: ITU-T T.81, annex B and G.1.1.1.1; libjpeg-turbo's jdphuff.c and jdhuff.c for what it takes
without a warning, of which this takes the usual part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..kernels import progressive as names
from ..kernels.huffman import TABLE, read_table
from ..kernels.recode import unstuff

MOST_SCANS = 64
"""Encoders write about 10."""

MOST_SEGMENTS = 1000
"""Each costs some microseconds here, and libjpeg nearly nothing."""

_FILE, _BLOCK = 1 << 16, 256
"""Bytes of a file, and of each of its blocks, that there may be: 64 codes take less."""

_EOI, _SOS, _DHT, _DQT, _COM = 0xD9, 0xDA, 0xC4, 0xDB, 0xFE
_EXTENDED, _PROGRESSIVE = 0xC1, 0xC2  # SOF1, which has its tables like SOF0, and SOF2
_JFIF, _ADOBE = 0xE0, 0xEE  # what libjpeg looks into
_PASSED_OVER = {_COM, *range(0xE0, 0xF0)} - {_JFIF, _ADOBE}

_BLOCKS = 10
"""Of an MCU: T.81, B.2.3."""

_MOST_LOW, _MOST_LOW_DC = 9, 13
"""Al of a scan. T.81 allows 13; above 9 nothing is left of the 10 bits that an AC coefficient may
have here."""

_DC_SYMBOLS = 15
"""The largest in a table for DC that libjpeg takes."""

_MOST_CODES = 256
"""In a table: libjpeg refuses one of more, whether it is used or not."""

_UNKNOWN = -1
"""In _Reading._known: nothing was told of the coefficient."""


class Unusual(Exception):
    """It is decoded as it is."""


class Script(NamedTuple):
    """A progressive JPEG but its coefficients; arrays as `kernels.recode` takes them.

    header: SOI to the first scan, as that of a sequential JPEG: what libjpeg looks into, without
    Huffman tables. ids: of its components. mcus: across; bands: rows of them; blocks: of a band.
    """

    header: bytes
    ids: bytes
    frame: np.ndarray
    mcus: int
    bands: int
    blocks: int
    scans: np.ndarray
    tables: np.ndarray


def read(data: np.ndarray, bits: np.ndarray) -> Script:
    """Read a JPEG, uint8 (n,), and copy its coded data into `bits`, which has room for as much.

    Raises Unusual.
    """
    return _Reading(data, bits).script()


class _Reading:
    def __init__(self, data: np.ndarray, bits: np.ndarray) -> None:
        self._data, self._bits = data, bits
        self._header = [b"\xff\xd8"]
        self._huffman: dict[int, bytes] = {}  # class and number of a table -> counts and symbols
        self._used: dict[bytes, int] = {}  # tables of the scans -> their place in Script.tables
        self._scans: list[list[int]] = []
        self._frame = np.zeros((0, names.FRAME), np.int64)
        self._ids = b""
        self._mcus = self._bands = self._blocks = 0
        self._known: list[list[int]] = []
        """Of each coefficient of each component the lowest bit that was told."""

    def script(self) -> Script:
        """Reads all of it."""
        at, filled = 2, 0
        for _ in range(MOST_SEGMENTS):
            marker, segment, after = self._segment(at)
            if marker == _EOI:
                break
            if marker == _SOS:
                scan = self._scan(segment)
                scan[names.AT] = 8 * filled
                after, filled = unstuff(self._data, after, self._bits, filled)
                scan[names.END] = 8 * filled
                self._scans.append(scan)
                if after < 0 or len(self._scans) > MOST_SCANS:
                    raise Unusual("ends within a scan, or has too many")
            elif marker == _DHT:
                self._tables(segment)
            elif marker not in _PASSED_OVER:
                self._before_scans(marker, segment)
            at = after
        else:
            raise Unusual("too many segments")
        if not self._known or any(low for known in self._known for low in known):
            raise Unusual("not all of the coefficients are told")
        return Script(
            b"".join(self._header),
            self._ids,
            self._frame,
            self._mcus,
            self._bands,
            self._blocks,
            np.array(self._scans, np.int64),
            self._read_tables(),
        )

    def _segment(self, at: int) -> tuple[int, bytes, int]:
        """Marker, content and end of the segment that begins exactly there."""
        start = bytes(self._data[at : at + 4])
        if len(start) < 2 or start[0] != 0xFF:
            raise Unusual("no marker where one is due")
        if start[1] == _EOI:
            return _EOI, b"", at + 2
        length = int.from_bytes(start[2:], "big")
        segment = bytes(self._data[at + 4 : at + 2 + length])
        if length < 2 or len(segment) != length - 2:
            raise Unusual("a segment cut short")
        return start[1], segment, at + 2 + length

    def _before_scans(self, marker: int, segment: bytes) -> None:
        if self._scans:
            raise Unusual(f"marker {marker:#x} between the scans")
        if marker == _PROGRESSIVE:
            self._begin(segment)
            marker = _EXTENDED
        elif marker not in (_DQT, _JFIF, _ADOBE):
            raise Unusual(f"marker {marker:#x} before the scans")
        length = (len(segment) + 2).to_bytes(2, "big")
        self._header.append(bytes([0xFF, marker]) + length + segment)

    def _begin(self, segment: bytes) -> None:
        """The frame header, which `jpegheader` has found plain."""
        if self._ids or len(segment) < 6 or len(segment) != 6 + 3 * segment[5]:
            raise Unusual("two frame headers, or a strange one")
        height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
        self._ids = segment[6::3]
        factors = [(f >> 4, f & 15) for f in segment[7::3]]
        if len(factors) == 1:
            factors = [(1, 1)]  # its scans are not interleaved, whatever it says
        if len(set(self._ids)) < len(factors) or sum(h * v for h, v in factors) > _BLOCKS:
            raise Unusual("components of one name, or too many blocks")
        across, down = (max(f) for f in zip(*factors, strict=True))
        self._mcus, self._bands = -(-width // (8 * across)), -(-height // (8 * down))
        self._frame = np.zeros((len(factors), names.FRAME), np.int64)
        for row, (h, v) in zip(self._frame, factors, strict=True):
            row[names.H], row[names.V] = h, v
            row[names.WIDTH] = -(-width * h // (8 * across))
            row[names.HEIGHT] = -(-height * v // (8 * down))
            row[names.ACROSS], row[names.FIRST] = self._mcus * h, self._blocks
            self._blocks += self._mcus * h * v
        if len(self._data) > _FILE + _BLOCK * self._blocks * self._bands:
            raise Unusual("more data than its blocks can take")
        self._known = [[_UNKNOWN] * 64 for _ in factors]

    def _tables(self, segment: bytes) -> None:
        at = 0
        while at < len(segment):
            counts = segment[at + 1 : at + 17]
            end = at + 17 + sum(counts)
            if end > len(segment) or sum(counts) > _MOST_CODES or segment[at] & ~0x13:
                raise Unusual("a strange Huffman table")
            self._huffman[segment[at]] = segment[at + 1 : end]
            at = end

    def _scan(self, segment: bytes) -> list[int]:
        """A row of Script.scans, without the place of its data."""
        count = segment[0] if segment else 0
        if not 1 <= count <= len(self._ids) or len(segment) != 4 + 2 * count:
            raise Unusual("a strange scan header")
        start, stop, approximation = segment[1 + 2 * count :]
        high, low = approximation >> 4, approximation & 15
        if stop != 0 if start == 0 else count > 1 or not start <= stop <= 63:
            raise Unusual("coefficients that no scan may have")
        if low > (_MOST_LOW if start else _MOST_LOW_DC) or (high and low != high - 1):
            raise Unusual("bits that no scan may tell")
        row = [0] * names.SCAN
        row[names.COUNT], row[names.START], row[names.STOP] = count, start, stop
        row[names.HIGH], row[names.LOW] = high, low
        before = -1
        for n in range(count):
            component = self._ids.find(segment[1 + 2 * n])
            if component <= before:
                raise Unusual("components that are unknown or out of order")
            before = row[names.COMPONENT + n] = component
            self._tell(self._known[component], start, stop, high, low)
            table = segment[2 + 2 * n]
            if start:
                row[names.TABLES + n] = self._use(0x10 | table & 15)
            elif not high:
                row[names.TABLES + n] = self._use(table >> 4)
        return row

    def _tell(self, known: list[int], start: int, stop: int, high: int, low: int) -> None:
        """Note what a scan tells of a component; Unusual where it is not its turn."""
        expected = high or _UNKNOWN
        if any(k != expected for k in known[start : stop + 1]) or (start and known[0] < 0):
            raise Unusual("a scan out of turn")
        known[start : stop + 1] = [low] * (stop + 1 - start)

    def _use(self, number: int) -> int:
        table = self._huffman.get(number)
        if table is None or (number < 0x10 and max(table[16:], default=0) > _DC_SYMBOLS):
            raise Unusual("a Huffman table that is missing, or not one for DC")
        return self._used.setdefault(table, len(self._used))

    def _read_tables(self) -> np.ndarray:
        tables = np.zeros((len(self._used), TABLE), np.uint16)
        for made, table in zip(tables, self._used, strict=True):
            whole = np.frombuffer(table, np.uint8)
            if not read_table(whole[:16], whole[16:], made):
                raise Unusual("a Huffman table without sense")
        return tables
