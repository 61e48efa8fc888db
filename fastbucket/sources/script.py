"""A source that fails as its script says: how a run behaves, shown within seconds.

A file `name.script` of words with spaces between them, one for each sample:

| word | reading the sample                       | so that                                  |
|------|------------------------------------------|------------------------------------------|
| r    | gives an image that reads well           | it is exported                           |
| D    | gives one with damaged pixels            | it is dropped as undecodable             |
| E    | fails, as a drive does                   | the run stops with a message             |
| K    | kills the process that reads (SIGSEGV)   | it is dropped as decoder_crash           |
| M    | takes all memory (MemoryError)           | it is dropped as decoder_crash           |
| S    | stalls for ever                          | it is dropped as decoder_crash           |
| -    | nothing: there is no such sample         | the others keep their numbers            |

A small letter does so at the first time only, and reads well from then on; a file
`name.script.<number>` beside the script remembers it. With an h before it (hK, hs, ...) it happens
at the header already, when the source is scanned: these are PNGs, whose header libvips reads; hD is
unreadable.

Samples are `name/000000` and so on, grey, 512 pixels square or as many in another shape, of flat
tiles whose levels are drawn from the sample's name; no two are of one size in bytes, so none is
read as a duplicate would be. It happens in the process that reads: `fastbucket bench` reads in its
own, and `K` ends that.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import time
import zlib
from collections.abc import Callable

import xxhash

from ..catalogue import Archive, Catalogue
from ..errors import RunError
from ..progress import GOING_ON, At, unwatched

SUFFIX = ".script"

_SIZES = ((512, 512), (576, 416), (416, 576))
"""Sides of the images in turn: they fit buckets of the default recipe as they are."""

_TILE = 8
"""Pixels: a tile is a block of the JPEG, of which only the mean is coded."""

_BYTES = 60_000
"""Bytes of the first sample; each has one more than the one before, by a comment as long as need
be."""


def scan(archive: Archive, at: At = unwatched) -> Catalogue:
    """Every sample by its header, through the kernel and libvips as any other; see `probe`."""
    import numpy as np
    import pyarrow as pa

    from ..kernels import jpegheader, tarwalk
    from ..kernels.signature import signature
    from . import probe

    reader = Reader(archive)
    numbers = [number for number, word in enumerate(reader.words) if word != "-"]
    rows = np.full((len(numbers), tarwalk.COLUMNS), -1, np.int64)
    heads = np.zeros((len(numbers), jpegheader.FIELDS + 1), np.int64)
    for row, head, number in zip(rows, heads, numbers, strict=True):
        at(GOING_ON)
        start = np.frombuffer(reader.image(number), np.uint8)
        row[tarwalk.IMAGE_OFFSET], row[tarwalk.IMAGE_SIZE] = 0, len(start)
        row[tarwalk.RANK] = tarwalk.RANK_IMAGE
        row[tarwalk.IMAGE_KIND] = signature(start, 0, len(start))
        head[-1] = jpegheader.jpeg_header(start, 0, len(start), head[:-1])

    def fetch(i: int, size: int) -> memoryview:
        reader.happens(numbers[i], "h")
        return memoryview(reader.image(numbers[i]))[:size]

    keys = pa.array([b"%06d" % number for number in numbers], pa.binary())
    suffixes = pa.array(
        [b"png" if reader.words[number][0] == "h" else b"jpg" for number in numbers], pa.binary()
    )
    return Catalogue(probe.columns(rows, heads, keys, suffixes, fetch, at))


def stamp(archive: Archive) -> str:
    """A digest of the script."""
    return str(xxhash.xxh3_128_hexdigest(_read(archive.path)))


def listing(archive: Archive) -> str:
    """Name, digest and split."""
    return f"{archive.name}\t{stamp(archive)}\t{archive.split}"


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error


class Reader:
    """Reads samples of one script, and does as it says. words: those of the script."""

    from_disk = False  # a stall is the sample's, as the script has it

    def __init__(self, archive: Archive) -> None:
        self._path, self._name = archive.path, archive.name
        self.words = _read(archive.path).decode("utf-8", "replace").split()
        for number, word in enumerate(self.words):
            if word != "-" and word.removeprefix("h").upper() not in _EVENTS:
                raise RunError(f"{self._path}: word {number}: {word!r} is none of the script's")

    def read(self, name: str | bytes, offset: int, size: int, into: bytearray) -> memoryview:
        """`size` bytes at `offset` of the image of this name, if its word allows."""
        number = int(os.fsdecode(name).partition(".")[0])
        self.happens(number, "")
        return memoryview(self.image(number))[offset : offset + size]

    def close(self) -> None:
        """Nothing stays open."""

    def happens(self, number: int, when: str) -> None:
        """What the word of a sample says, if it says so now. when: "h", or "" for its pixels."""
        prefix, word = self.words[number][:-1], self.words[number][-1]
        if prefix == when and word.islower() and word != "r":
            try:
                with open(f"{self._path}.{number}", "x"):
                    pass
            except FileExistsError:
                return
        if prefix == when:
            text = f"{self._path}: sample {number}: cannot be read: its word is {word}"
            _EVENTS[word.upper()](text)

    def image(self, number: int) -> bytes:
        """The image of a sample."""
        word = self.words[number]
        width, height = _SIZES[number % len(_SIZES)]
        dice = random.Random(f"{self._name}/{number}")
        levels = dice.randbytes((width // _TILE) * (height // _TILE))
        encode = _png if word[0] == "h" else _jpeg
        return encode(width, height, levels, _BYTES + number, word[-1] in "dD")


def _fail(text: str) -> None:
    raise RunError(text)


def _kill(text: str) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _exhaust(text: str) -> None:
    raise MemoryError(text)


def _stall(text: str) -> None:
    while True:
        time.sleep(3600)


_EVENTS: dict[str, Callable[[str], None]] = {
    "R": lambda text: None,
    "D": lambda text: None,  # it lies in the image itself
    "E": _fail,
    "K": _kill,
    "M": _exhaust,
    "S": _stall,
}
"""Word -> what happens; called with the message of a failure."""


# The JPEG: ITU-T T.81, grey, quantized by 8, so that a DC coefficient is the level of its block.
# DC categories 0 to 8 have codes of 4 bits, in their order; the one AC code, of 1 bit, is EOB.
_QUANTA = b"\0" + bytes([8] + [1] * 63)
_HUFFMAN_DC = b"\x00" + bytes([0, 0, 0, 9, *[0] * 12]) + bytes(range(9))
_HUFFMAN_AC = b"\x10" + bytes([1, *[0] * 15]) + b"\0"


def _jpeg(width: int, height: int, levels: bytes, size: int, damaged: bool) -> bytes:
    """A plain JPEG of flat tiles, of `size` bytes; damaged: half of its data is missing."""
    bits, last = [], 0
    for level in levels:
        value = (level >> 1) + 64  # 64 to 191: differences of 8 bits at most
        difference, last = value - 128 - last, value - 128
        category = abs(difference).bit_length()
        coded = difference if difference > 0 else difference + (1 << category) - 1
        bits.append(f"{category:04b}")
        if category:
            bits.append(f"{coded:0{category}b}")
        bits.append("0")
    stream = "".join(bits)
    stream += "1" * (-len(stream) % 8)
    data = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\0")
    if damaged:
        data = data[: len(data) // 2]
    parts = [
        _segment(0xDB, _QUANTA),
        _segment(0xC0, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)),
        _segment(0xC4, _HUFFMAN_DC),
        _segment(0xC4, _HUFFMAN_AC),
        _segment(0xDA, bytes([1, 1, 0, 0, 63, 0])),
        data,
        b"\xff\xd9",
    ]
    room = size - 2 - 4 - sum(map(len, parts))
    return b"".join([b"\xff\xd8", _segment(0xFE, bytes(room)), *parts])


def _segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def _png(width: int, height: int, levels: bytes, size: int, damaged: bool) -> bytes:
    """A grey PNG of flat tiles, of `size` bytes; damaged: its header says that it has no width."""
    across = width // _TILE
    rows = (levels[at : at + across] for at in range(0, len(levels), across))
    tall = (b"".join(bytes([level]) * _TILE for level in row) for row in rows)
    pixels = b"".join((b"\0" + row) * _TILE for row in tall)
    shown = 0 if damaged else width
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", shown, height, 8, 0, 0, 0, 0))
    parts = [header, _chunk(b"IDAT", zlib.compress(pixels, 9)), _chunk(b"IEND", b"")]
    room = size - 8 - 12 - len(b"Comment\0") - sum(map(len, parts))
    comment = _chunk(b"tEXt", b"Comment\0" + b" " * room)
    return b"".join([b"\x89PNG\r\n\x1a\n", parts[0], comment, *parts[1:]])


def _chunk(name: bytes, payload: bytes) -> bytes:
    crc = zlib.crc32(name + payload)
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", crc)
