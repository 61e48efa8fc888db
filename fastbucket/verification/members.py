"""The members of a shard's tar, and what in it is not as the format has it.

Read with the standard library's tarfile, which is not our writer.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..format import TAR_BLOCK, TAR_END, TAR_MODE
from . import index
from .hashed import HashedFile

_MAGIC = slice(257, 265)
_USTAR = b"ustar\x0000"
_TYPE = slice(156, 157)
_NAME, _DEVICES = slice(0, 100), slice(329, 345)
_LINK, _OWNERS, _PREFIX = slice(157, 257), slice(265, 329), slice(345, 512)
_OWNED, _SIZE, _TIME = slice(100, 124), slice(124, 136), slice(136, 148)
_SUM, _REST = slice(148, 156), slice(156, 512)
_ZERO_BLOCK = bytes(TAR_BLOCK)

_IMAGE_LIMIT, _LIMIT = 1 << 30, 64 << 20
"""Bytes of a .jpg and of any other member; a larger one is damage, and is not read into memory."""

_OCTAL = re.compile(rb"[0-7]{11}\0")


class Member(NamedTuple):
    """A member of a tar. content: None where it was too large to read. place: where it lies."""

    name: str
    content: bytes | None
    place: index.Place


class Expected:
    """The one header that the format allows a member of some name and size (POSIX, ustar).

    A header that is this very one needs no tarfile, which takes 60 us to read it; of every other
    tarfile says what it means, and `_header_flaws` what is wrong with it.
    """

    def __init__(self, mtime: int) -> None:
        self._owned = b"%07o\0" % TAR_MODE + b"0000000\0" * 2
        self._time = b"%011o\0" % mtime
        rest = bytearray(TAR_BLOCK - _REST.start)
        rest[0:1] = b"0"
        rest[_MAGIC.start - _REST.start : _MAGIC.stop - _REST.start] = _USTAR
        self._rest = bytes(rest)
        # The sum of a header counts its own field as blanks.
        self._sum = sum(self._owned) + sum(self._time) + sum(b" " * 8) + sum(rest)

    def member(self, block: bytes) -> tuple[str, int] | None:
        """Name and size of a member with the expected header; None where it has another."""
        if block[_REST] != self._rest or block[_OWNED] != self._owned:
            return None
        if block[_TIME] != self._time:
            return None
        name, digits = block[_NAME].rstrip(b"\0"), block[_SIZE]
        if not name.isascii() or b"\0" in name or not _OCTAL.fullmatch(digits):
            return None
        if block[_SUM] != b"%06o\0 " % (self._sum + sum(name) + sum(digits)):
            return None
        return name.decode("ascii"), int(digits[:-1], 8)


def members_of(
    file: HashedFile, mtime: int, note: Callable[[str, str], None], fast: bool = False
) -> Iterator[Member]:
    """The members as tarfile reads them, with their headers, padding and the end checked.

    tarfile ends at the first damaged header without a word; here that is a problem, and the
    reading goes on at the next header that is whole. fast: a header that is byte for byte the
    expected one is not shown to tarfile.
    """
    at, tar = 0, None
    expected = Expected(mtime) if fast and 0 <= mtime < 1 << 33 else None
    while len(block := file.at(at, TAR_BLOCK)) == TAR_BLOCK and block != _ZERO_BLOCK:
        if expected is not None and (plain := expected.member(block)) is not None:
            name, size = plain
            end = at + TAR_BLOCK + size
            padding = -size % TAR_BLOCK
            if size <= _LIMIT and end + padding <= file.size:
                inside = file.at(at + TAR_BLOCK, size)
                if file.at(end, padding) == _ZERO_BLOCK[:padding]:
                    yield Member(name, inside, index.Place(name, at + TAR_BLOCK, size))
                    at, tar = end + padding, None
                    continue
        # What is no plain file (PAX headers, long names, links) is not left to tarfile: it would
        # follow their sizes and names and show only the result.
        info = None
        if block[_TYPE] == b"0":
            tar, info = _next(tar, file, at)
        if info is None or info.size < 0 or info.offset_data + info.size > file.size:
            why = _why_not(block, file.size - at)
            nearest = _next_header(file, at + TAR_BLOCK)
            on = f"; went on at byte {nearest}" if nearest < file.size else ""
            note("", f"no whole member at byte {at}: {why}{on}")
            at, tar = nearest, None
            continue
        if info.size > (_IMAGE_LIMIT if info.name.endswith(".jpg") else _LIMIT):
            note(info.name, f"is of {info.size} bytes, more than any such member needs")
            content = None
        else:
            content = file.at(info.offset_data, info.size)
        for text in _header_flaws(info, block, mtime):
            note(info.name, text)
        end = info.offset_data + info.size
        at = end + -end % TAR_BLOCK
        if file.at(end, at - end).strip(b"\0"):
            note(info.name, "the padding behind it is not zeros")
        yield Member(info.name, content, index.Place(info.name, info.offset_data, info.size))
    tail = file.at(at, len(TAR_END) + 1)
    if tail != TAR_END or file.size != at + len(TAR_END):
        note(
            "",
            f"ends with {max(file.size - at, 0)} bytes behind its last member, "
            f"where exactly {len(TAR_END)} zeros belong",
        )


def _next(
    tar: tarfile.TarFile | None, file: Any, at: int
) -> tuple[tarfile.TarFile | None, tarfile.TarInfo | None]:
    """The reader and the member that it finds at `at`; None where it finds none."""
    try:
        if tar is None:
            file.seek(at)
            tar = tarfile.TarFile(fileobj=file)
        tar.members.clear()  # type: ignore[attr-defined]  # it would keep every member
        info = tar.next()
    except tarfile.TarError:
        return None, None
    return tar, info if info is not None and info.offset == at else None


def _why_not(block: bytes, left: int) -> str:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        return str(error)
    if info.type != tarfile.REGTYPE:
        return f"a header of type {info.type!r}, where only plain files belong"
    return f"{info.name} is to have {info.size} bytes, and the file ends after {left - TAR_BLOCK}"


def _next_header(file: HashedFile, at: int) -> int:
    """Position of the next whole header of a plain file, or of the end of the archive or file."""
    while len(block := file.at(at, TAR_BLOCK)) == TAR_BLOCK:
        if block == _ZERO_BLOCK and at + len(TAR_END) >= file.size:
            break
        if block[_MAGIC] == _USTAR and block[_TYPE] == b"0":
            try:
                tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                pass  # no header after all: the search goes on
            else:
                break
        at += TAR_BLOCK
    return at


def _header_flaws(info: tarfile.TarInfo, block: bytes, mtime: int) -> Iterator[str]:
    """What a header has that the format does not."""
    if block[_MAGIC] != _USTAR:
        yield f"magic {block[_MAGIC]!r}, not ustar's"
    if info.mode != TAR_MODE:
        yield f"mode {info.mode:04o}, not {TAR_MODE:04o}"
    if info.uid or info.gid or info.uname or info.gname:
        yield f"owner {info.uid}:{info.gid} {info.uname}:{info.gname}, not 0:0 without names"
    elif any(block[_OWNERS]) or b"\0" in block[_NAME].rstrip(b"\0"):
        yield "bytes behind the end of a name in its header"
    if info.mtime != mtime:
        yield f"mtime {info.mtime}, the recipe says {mtime}"
    if any(block[_LINK]) or any(block[_PREFIX]) or block[_DEVICES].strip(b"\x000"):
        yield "a link, device or prefix in its header, where zeros belong"
