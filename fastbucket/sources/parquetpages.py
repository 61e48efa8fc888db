"""Where the values of a binary column lie in a Parquet file: page headers, levels, lengths.

pyarrow reads row groups whole: 100 MB for one image of it. So the pages are looked at here, as the
format's specification has them (github.com/apache/parquet-format, README.md and Encodings.md):

    column chunk  = [dictionary page] data page...
    page          = header (Thrift, compact protocol), then its data, compressed or not
    data          = definition levels (which values are null), then values
    values        = PLAIN: length in 4 bytes, bytes, ... | numbers of the dictionary page's values

`datasets` writes images PLAIN and uncompressed: then every image stands in the file as it is, and
is read at its offset like a member of a tar. What is compressed is decompressed by the page.
Everything else (delta encodings, which few write for images) is `Unusual`, and for pyarrow.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import thrift

DATA, DICTIONARY, DATA_V2 = 0, 2, 3
_OWN = {DATA: 5, DICTIONARY: 7, DATA_V2: 8}
"""Page types, and the field of a page header that is of this type alone. The only other type is an
index page, which nobody writes."""

_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8

_HEADER = 256
"""Bytes read for a header; one with long statistics needs more."""

_HEADER_LIMIT = 1 << 20

CODECS = {
    "UNCOMPRESSED": "",
    "SNAPPY": "snappy",
    "GZIP": "gzip",
    "BROTLI": "brotli",
    "ZSTD": "zstd",
    "LZ4_RAW": "lz4_raw",
}
"""Parquet's name of a compression -> pyarrow's; "LZ4", of old writers, is left to pyarrow."""

Read = Callable[[int, int], memoryview]
"""read(offset, size): bytes of the file; RunError where they are not there."""


class Damaged(Exception):
    """A page that is not as the format has it; its text says what."""


class Unusual(Exception):
    """A page as the format allows it, in an encoding that is left to pyarrow."""


class Chunk(NamedTuple):
    """The binary column in one row group. levels: the definition level of a value that is there,
    0 where none may be null."""

    start: int  # byte of the first page header
    stop: int
    rows: int
    codec: str  # of CODECS' values
    levels: int


class Page(NamedTuple):
    """One page. at: byte of its data in the file; stored, size: its bytes there and decompressed;
    rows: of a data page the rows, of a dictionary its values; plain: bytes before the compressed
    part (levels of version 2)."""

    type: int
    at: int
    stored: int
    size: int
    rows: int
    encoding: int
    codec: str
    plain: int

    @property
    def coded(self) -> bool:
        """Whether its values are numbers of the dictionary's."""
        return self.type != DICTIONARY and self.encoding in (_PLAIN_DICTIONARY, _RLE_DICTIONARY)


class Values(NamedTuple):
    """Where the values of some rows lie. starts, sizes: int64 (rows,), size -1 for null; memory:
    what starts count in, None for the file itself."""

    starts: np.ndarray
    sizes: np.ndarray
    memory: memoryview | None

    @property
    def bytes(self) -> int:
        return len(self.memory or b"") + self.starts.nbytes + self.sizes.nbytes


def pages(chunk: Chunk, read: Read) -> list[Page]:
    """The pages of a chunk, in order. Raises Damaged; its second argument are the pages before."""
    found: list[Page] = []
    at, rows = chunk.start, 0
    while rows < chunk.rows:
        try:
            page = _page(chunk, at, read)
        except Damaged as error:
            raise Damaged(str(error), found) from None
        rows += page.rows if page.type != DICTIONARY else 0
        if page.at + page.stored > chunk.stop or rows > chunk.rows:
            raise Damaged(f"the page at byte {at} goes beyond its column", found)
        found.append(page)
        at = page.at + page.stored
    return found


def _page(chunk: Chunk, at: int, read: Read) -> Page:
    size = _HEADER
    while True:
        piece = bytes(read(at, max(min(size, chunk.stop - at), 0)))
        try:
            fields, length = thrift.struct(piece, 0)
            break
        except (IndexError, OverflowError, RecursionError, TypeError) as error:
            if len(piece) < size or size >= _HEADER_LIMIT:
                raise Damaged(f"no page header at byte {at}") from error
            size *= 16
    kind: Any = fields.get(1)
    own: Any = fields.get(_OWN.get(kind, 0)) if isinstance(kind, int) else None

    def number(of: Any, field: int) -> int:
        value = of.get(field) if isinstance(of, dict) else None
        if not isinstance(value, int) or value < 0:
            raise Damaged(f"no page header at byte {at}")
        return value

    unpacked, stored, rows, second = (
        number(fields, 2), number(fields, 3), number(own, 1), number(own, 2),
    )  # fmt: skip
    if kind == DATA_V2:  # 5, 6: bytes of the definition and repetition levels; 7: is_compressed
        levels = number(own, 5)
        if number(own, 6) or levels > stored:
            raise Damaged(f"the page at byte {at} has levels of {levels} bytes")
        codec = chunk.codec if own.get(7, True) else ""
        return Page(kind, at + length, stored, unpacked, rows, number(own, 4), codec, levels)
    if kind == DICTIONARY and rows > unpacked // 4:  # a length alone takes four bytes
        raise Damaged(f"the page at byte {at} cannot hold {rows} values")
    if kind == DATA and chunk.levels and own.get(3) != _RLE:
        raise Unusual
    return Page(kind, at + length, stored, unpacked, rows, second, chunk.codec, 0)


def values(chunk: Chunk, page: Page, dictionary: Values | None, read: Read) -> Values:
    """Where the values of a page lie. dictionary: those of the chunk's dictionary page.

    Raises Damaged for what cannot be, and Unusual.
    """
    try:
        return _values(chunk, page, dictionary, read)
    except (IndexError, ValueError, OSError, struct.error) as error:  # OSError: of a codec
        raise Damaged(f"the page at byte {page.at} cannot be read: {error}") from error


def _values(chunk: Chunk, page: Page, dictionary: Values | None, read: Read) -> Values:
    memory = _memory(page, read) if page.codec else None
    base, end = (0, page.size) if page.codec else (page.at, page.at + page.stored)

    def piece(at: int, size: int) -> memoryview:
        if not base <= at <= at + size <= end:
            raise Damaged(f"the page at byte {page.at} ends within a value")
        return read(at, size) if memory is None else memory[at : at + size]

    at, there = base, np.ones(page.rows, bool)
    if page.type == DATA_V2 and chunk.levels:
        levels = piece(at, page.plain)
        there = _hybrid(levels, chunk.levels.bit_length(), page.rows) == chunk.levels
    elif page.type == DATA and chunk.levels:
        size = int.from_bytes(piece(at, 4), "little")
        levels = piece(at + 4, size)
        there = _hybrid(levels, chunk.levels.bit_length(), page.rows) == chunk.levels
        at += 4 + size
    at += page.plain
    starts = np.zeros(page.rows, np.int64)
    sizes = np.where(there, 0, -1).astype(np.int64)
    rows = np.flatnonzero(there)
    if page.encoding == _PLAIN or page.type == DICTIONARY:
        for row in rows.tolist():
            size = int.from_bytes(piece(at, 4), "little")
            starts[row], sizes[row] = at + 4, size
            at += 4 + size
        if at > end:
            raise Damaged(f"the page at byte {page.at} ends within a value")
        return Values(starts, sizes, memory)
    if not page.coded:
        raise Unusual
    if dictionary is None:
        raise Damaged(f"the page at byte {page.at} speaks of a dictionary that is not there")
    if rows.size:
        width = piece(at, 1)[0]
        numbers = _hybrid(piece(at + 1, end - at - 1), width, rows.size)
        starts[rows], sizes[rows] = dictionary.starts[numbers], dictionary.sizes[numbers]
    return Values(starts, sizes, dictionary.memory)


def _memory(page: Page, read: Read) -> memoryview:
    """The data of a page, decompressed."""
    import pyarrow as pa

    stored = read(page.at, page.stored)
    size = page.size - page.plain
    packed = stored[page.plain :]
    data = pa.Codec(page.codec).decompress(packed, size) if size and len(packed) else b""
    if len(data) != size:
        raise Damaged(f"the page at byte {page.at} is of {len(data)} bytes, not {size}")
    # pyarrow shows its buffers as signed bytes.
    view = memoryview(data).cast("B")
    return memoryview(bytes(stored[: page.plain]) + view) if page.plain else view


def _hybrid(data: memoryview, width: int, count: int) -> np.ndarray:
    """`count` numbers of `width` bits, in runs and in packs of eight (Encodings.md, RLE)."""
    if width > 32:
        raise Damaged(f"numbers of {width} bits")
    found = np.zeros(count, np.int64)
    if not width:  # a dictionary of one value
        return found
    weights = 1 << np.arange(width, dtype=np.int64)
    done = at = 0
    while done < count:
        head, at = thrift.varint(data, at)
        if head & 1:
            n = (head >> 1) * 8
            size = (head >> 1) * width
            # A writer may leave out the bytes that only fill up the last pack.
            packed = np.zeros(min(size, (count - done + 8) * width), np.uint8)
            piece = np.frombuffer(data[at : at + packed.size], np.uint8)
            packed[: piece.size] = piece
            bits = np.unpackbits(packed, bitorder="little")
            run: Any = bits.reshape(-1, width).astype(np.int64) @ weights
            if at + -(-min(n, count - done) * width // 8) > len(data):
                raise Damaged("numbers end early")
        else:
            n, size = head >> 1, (width + 7) // 8
            run = int.from_bytes(data[at : at + size], "little")
            if not n or at + size > len(data):
                raise Damaged("numbers end early")
        n = min(n, count - done)
        found[done : done + n] = run[:n] if head & 1 else run
        done, at = done + n, at + size
    return found
