"""Progressive JPEGs by any script of scans, from coefficients: what Pillow never writes. T.81, G.1.

Slow and simple. Huffman codes are of one length for all 256 symbols, which any table may have.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Scan(NamedTuple):
    """components, coefficients start to stop in zigzag order, bits above `high` known, to `low`."""

    components: tuple[int, ...]
    start: int
    stop: int
    high: int
    low: int


class Frame(NamedTuple):
    """A size in pixels, and of each component (h, v)."""

    width: int
    height: int
    factors: tuple[tuple[int, int], ...]

    @property
    def mcus(self) -> tuple[int, int]:
        across, down = (max(f) for f in zip(*self.factors, strict=True))
        return -(-self.width // (8 * across)), -(-self.height // (8 * down))

    def blocks(self, component: int) -> tuple[int, int]:
        """Rows and columns that a scan of this component alone has."""
        across, down = (max(f) for f in zip(*self.factors, strict=True))
        h, v = self.factors[component]
        return -(-self.height * v // (8 * down)), -(-self.width * h // (8 * across))


def coefficients(
    frame: Frame, chance: random.Random, density: float, most: int
) -> list[np.ndarray]:
    """int (rows, columns, 64) of each component, with the blocks that fill up the last MCUs."""
    seed = np.random.default_rng(chance.randrange(1 << 32))
    made = []
    for h, v in frame.factors:
        shape = frame.mcus[1] * v, frame.mcus[0] * h, 64
        values = seed.integers(-most, most + 1, shape) >> seed.integers(0, 8, shape)
        there = seed.random(shape) < density * seed.random((*shape[:2], 1))
        values = np.where(there, values, 0)
        values[..., 0] = seed.integers(-900, 900, shape[:2])
        made.append(values)
    return made


def script(components: int, chance: random.Random) -> list[Scan]:
    """A complete script at random."""
    scans = []
    low = chance.randrange(4)
    everyone = tuple(range(components))
    groups = [everyone] if chance.random() < 0.5 else [(c,) for c in everyone]
    if components == 3 and chance.random() < 0.3:
        groups = [(0,), (1, 2)]
    scans += [Scan(group, 0, 0, 0, low) for group in groups]
    later = [Scan(group, 0, 0, bit + 1, bit) for bit in range(low)[::-1] for group in groups]
    lanes = [later]  # within each the order is due; between them it is free
    for component in everyone:
        ends = sorted({63, *chance.sample(range(1, 63), chance.randrange(4))})
        for start, stop in zip([1, *(e + 1 for e in ends)], ends, strict=False):
            low = chance.randrange(5)
            lane = [Scan((component,), start, stop, 0, low)]
            lane += [Scan((component,), start, stop, bit + 1, bit) for bit in range(low)[::-1]]
            lanes.append(lane)
    while any(lanes):
        scans.append(chance.choice([lane for lane in lanes if lane]).pop(0))
    return scans


def encode(
    frame: Frame, values: list[np.ndarray], scans: list[Scan], code: int = 9, runs: int = 0x7FFF
) -> bytes:
    """The JPEG. code: bits of every Huffman code, 9 to 16; runs: most blocks of an EOBRUN."""
    segments = [b"\xff\xd8", _segment(0xDB, b"\0" + bytes(range(3, 67)))]
    factors = enumerate(frame.factors, 1)
    rows = b"".join(bytes([i, h << 4 | v, 0]) for i, (h, v) in factors)
    size = frame.height.to_bytes(2, "big") + frame.width.to_bytes(2, "big")
    segments.append(_segment(0xC2, b"\x08" + size + bytes([len(frame.factors)]) + rows))
    counts = bytes(code - 1) + b"\xff" + bytes(16 - code)
    for scan in scans:
        kind = 0x10 * (scan.start > 0)
        symbols = bytes(range(16)) if not kind else bytes(s for s in range(256) if s != 0xFF)
        own = bytes(code - 1) + bytes([len(symbols)]) + bytes(16 - code)
        assert len(counts) == len(own) == 16
        segments.append(_segment(0xC4, bytes([kind]) + own + symbols))
        bits = "".join(_scan(frame, values, scan, code, runs))
        bits += "1" * (-len(bits) % 8)
        data = int(bits or "0", 2).to_bytes(len(bits) // 8, "big")
        of = b"".join(bytes([c + 1, 0]) for c in scan.components)
        ends = bytes([scan.start, scan.stop, scan.high << 4 | scan.low])
        segments.append(_segment(0xDA, bytes([len(scan.components)]) + of + ends))
        segments.append(data.replace(b"\xff", b"\xff\0"))
    return b"".join(segments) + b"\xff\xd9"


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def _order(frame: Frame, scan: Scan) -> Iterator[tuple[int, int, int]]:
    """component, row and column of each block of a scan."""
    if len(scan.components) == 1:
        rows, columns = frame.blocks(scan.components[0])
        yield from ((scan.components[0], y, x) for y in range(rows) for x in range(columns))
        return
    across, down = frame.mcus
    for my in range(down):
        for mx in range(across):
            for c in scan.components:
                h, v = frame.factors[c]
                yield from ((c, my * v + y, mx * h + x) for y in range(v) for x in range(h))


def _number(value: int, size: int) -> str:
    """`value` in `size` bits, as T.81 has it: below zero less one."""
    return f"{value if value > 0 else value + (1 << size) - 1:0{size}b}" if size else ""


def _scan(
    frame: Frame, values: list[np.ndarray], scan: Scan, code: int, runs: int
) -> Iterator[str]:
    symbols = list(range(16)) if not scan.start else [s for s in range(256) if s != 0xFF]
    number = {symbol: f"{i:0{code}b}" for i, symbol in enumerate(symbols)}
    blocks = (values[c][y, x] for c, y, x in _order(frame, scan))
    if scan.start == 0:
        before = dict.fromkeys(scan.components, 0)
        for c, y, x in _order(frame, scan):
            value = int(values[c][y, x, 0]) >> scan.low
            if scan.high:
                yield str(value & 1)
                continue
            change, before[c] = value - before[c], value
            size = abs(change).bit_length()
            yield number[size] + _number(change, size)
        return
    run, told = 0, ""  # blocks that have no more new ones, and the bits of their old ones

    def ended() -> Iterator[str]:
        nonlocal run, told
        if run:
            size = run.bit_length() - 1
            yield number[size << 4] + (f"{run - (1 << size):0{size}b}" if size else "") + told
        run, told = 0, ""

    for block in blocks:
        part = [int(v) for v in block[scan.start : scan.stop + 1]]
        sizes = [abs(v) >> scan.low for v in part]
        new = [i for i, s in enumerate(sizes) if (s == 1 if scan.high else s)]
        last = new[-1] if new else -1
        zeros, bits = 0, ""
        for i, size in enumerate(sizes):
            if size == 0:
                zeros += 1
                continue
            while zeros > 15 and i <= last:
                yield from ended()
                yield number[0xF0] + bits
                zeros, bits = zeros - 16, ""
            if scan.high and size > 1:
                bits += str(size & 1)
                continue
            yield from ended()
            if scan.high:
                yield number[zeros << 4 | 1] + str(int(part[i] > 0)) + bits
            else:
                many = size.bit_length()
                yield number[zeros << 4 | many] + _number(size if part[i] > 0 else -size, many)
            zeros, bits = 0, ""
        if zeros or bits:
            run, told = run + 1, told + bits
            if run == runs:
                yield from ended()
    yield from ended()
