"""ustar blocks of one output sample, and vectored writes."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence

from .errors import RunError
from .format import MEMBERS, TAR_BLOCK, TAR_MODE

_PADDING = tuple(bytes(-size % TAR_BLOCK) for size in range(TAR_BLOCK))
"""Zeros from a size (modulo 512) to the next block."""

_SIZE_LIMIT = 1 << 33
"""Eleven octal digits: what ustar can say of a size."""

_WRITEV_LIMIT = 1024
"""IOV_MAX of Linux."""


class Headers:
    """Makes member headers: 512 bytes from a template, with name, size and checksum filled in."""

    def __init__(self, mtime: int) -> None:
        template = bytearray(TAR_BLOCK)
        template[100:108] = b"%07o\0" % TAR_MODE
        template[108:116] = template[116:124] = b"0000000\0"  # uid, gid; names stay empty
        template[136:148] = b"%011o\0" % mtime
        template[148:156] = b" " * 8  # the checksum counts itself as blanks
        template[156:157] = b"0"  # a regular file
        template[257:265] = b"ustar\x0000"
        self.template = bytes(template), sum(template)
        """A header of no name and no size, its checksum blank; and the sum of its bytes."""
        self._template, self._sum = self.template

    def header(self, name: bytes, size: int) -> bytes:
        """The header of a member. name: at most 100 bytes; size in bytes, below 8 GiB."""
        if len(name) > 100 or size >= _SIZE_LIMIT:
            raise RunError(f"{name!r}: a name of {len(name)} or {size} bytes does not fit ustar")
        octal = b"%011o\0" % size
        # Half of Adler-32 is the sum of the bytes modulo 65521, which 112 bytes do not reach: a
        # tenth of the time of Python's sum, which was half of a header.
        total = self._sum + (zlib.adler32(name + octal, 0) & 0xFFFF)
        t = self._template
        return b"".join(
            (
                name,
                t[len(name) : 124],
                octal,
                t[136:148],
                b"%06o\0 " % total,
                t[156:],
            )
        )

    def sample(self, key: str, members: Sequence[bytes], first: int = 0) -> list[bytes]:
        """Header, content and padding of a sample's members, in the order of format.MEMBERS; from
        the `first` of them on."""
        blocks: list[bytes] = []
        for suffix, content in list(zip(MEMBERS, members, strict=True))[first:]:
            blocks += self.member(key, suffix, content)
        return blocks

    def member(self, key: str, suffix: str, content: bytes) -> tuple[bytes, bytes, bytes]:
        """Header, content and padding of one member of a sample; the padding may be empty."""
        header = self.header(f"{key}.{suffix}".encode(), len(content))
        return header, content, _PADDING[len(content) % TAR_BLOCK]


def write_all(fd: int, blocks: Sequence[bytes | memoryview]) -> int:
    """Write every block with vectored writes, however short each write is. Returns the bytes."""
    total = 0
    for first in range(0, len(blocks), _WRITEV_LIMIT):
        batch: list[bytes | memoryview] = list(blocks[first : first + _WRITEV_LIMIT])
        while batch:
            written = os.writev(fd, batch)
            total += written
            done = 0
            while done < len(batch) and written >= len(batch[done]):
                written -= len(batch[done])
                done += 1
            del batch[:done]
            if batch and written:
                batch[0] = memoryview(batch[0])[written:]
    return total
