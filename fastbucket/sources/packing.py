"""Archives as they are packed: the name without what was added to it, and the bytes inside.

What is packed is known by its first bytes and never by its name: a .tar may be compressed, and
what a command prints has no name at all.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from ..errors import StreamError

BLOCK = 512
"""Bytes of a tar's block."""

SIGNATURES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}
"""First bytes -> how it is packed. zip is known so that it can be named: it is no stream."""

SUFFIXES = (
    ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz",
    ".tar.lz4",
)  # fmt: skip
"""Ends of the names of archives; none of them is part of an archive's name."""

_LAST_ARCHIVE = re.compile(
    rf"""[^\s'"|;&<>()=]+(?:{"|".join(map(re.escape, sorted(SUFFIXES, key=len)[::-1]))})"""
    r"""(?=$|[\s'"|;&<>()?#])"""
)

_BUFFER = 1 << 20


class Bytes(Protocol):
    """A stream: `read` gives up to `size` bytes, none at its end only.

    whole: the end was seen to be the end (a length, a trailer), so that nothing can be missing.
    """

    @property
    def whole(self) -> bool: ...

    def read(self, size: int) -> bytes: ...

    def close(self) -> None: ...


def archive_name(path: str) -> str:
    """The name of an archive, from a path or an address: the base name without SUFFIXES."""
    if "://" in path:
        path = unquote(urlsplit(path).path)
    name = path.rstrip("/").rpartition("/")[2]
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


def archive_in(command: str) -> str:
    """The name of the last archive that a shell command names; "" where it names none."""
    found: list[str] = _LAST_ARCHIVE.findall(command)
    return archive_name(found[-1]) if found else ""


_SKIPPED = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
"""What a skippable frame begins with: pzstd puts one in front of each frame of zstd."""


def packing(first: bytes) -> str:
    """How something is packed that begins with `first`; "" where it is not."""
    if _SKIPPED.match(first):
        return "zstd"
    return next((name for mark, name in SIGNATURES.items() if first.startswith(mark)), "")


def is_tar(block: bytes) -> bool:
    """Whether a first block is a header with a right checksum, or the end of an empty tar."""
    if len(block) < BLOCK:
        return False
    if not any(block):
        return True
    try:
        stored = int(block[148:156].split(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    signed = sum(rest) - 256 * sum(byte >= 128 for byte in rest)
    return stored in (sum(rest), signed)


def why_no_tar(block: bytes) -> str:
    """What is wrong with a first block that is none."""
    if not block:
        return "the file is empty"
    if len(block) < BLOCK:
        return f"the file has {len(block)} bytes, a header has {BLOCK}"
    return "its first 512 bytes are no tar header"


class _Again(io.RawIOBase):
    """A stream with the bytes in front that were read to look at them."""

    def __init__(self, first: bytes, rest: Bytes) -> None:
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        room = memoryview(into).cast("B")
        data, self._first = self._first[: len(room)], self._first[len(room) :]
        data = data or self._rest.read(len(room))
        room[: len(data)] = data
        return len(data)


class _Members(io.RawIOBase):
    """Compressed streams behind one another, as pbzip2, pigz and cat write them, and nothing else.

    BZ2File and LZMAFile take a second stream with a damaged header for the end of the file, as do
    their tools for what is no stream at all. padding: bytes of which zeros may stand between them.
    """

    def __init__(self, stream: Any, begin: Callable[[], Any], padding: int = 0) -> None:
        self._stream, self._begin, self._padding = stream, begin, padding
        self._inside: Any = begin()
        self._fed = b""
        self._started = False  # the stream at hand
        self._ended = 0  # streams that did

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        room = memoryview(into).cast("B")
        while True:
            data = b""
            if self._inside.eof:
                self._fed = self._inside.unused_data
                self._inside, self._started = self._begin(), False
                self._ended += 1
                self._fed = self._unpadded(self._fed)
            if self._started and not self._inside.needs_input:
                data = self._inside.decompress(b"", len(room))
            else:
                more = self._fed or self._stream.read1(_BUFFER)
                self._fed = b""
                if not more:
                    if self._started or not self._ended:
                        raise EOFError("its last stream has no end")
                    return 0
                self._started = True
                data = self._inside.decompress(more, len(room))
            if data:
                room[: len(data)] = data
                return len(data)

    def _unpadded(self, data: bytes) -> bytes:
        """What stands behind the zeros that fill up a stream."""
        if not self._padding:
            return data
        zeros = 0
        while not (rest := data.lstrip(b"\0")):
            zeros += len(data)
            if not (data := self._stream.read1(_BUFFER)):
                break
        zeros += len(data) - len(rest)
        if zeros % self._padding:
            raise lzma.LZMAError(f"{zeros} bytes of padding")
        return rest


def _members(begin: Callable[[], Any], padding: int = 0) -> Callable[[Any], Any]:
    return lambda stream: io.BufferedReader(_Members(stream, begin, padding), _BUFFER)


def _arrow(codec: str) -> Callable[[Any], Any]:
    return lambda stream: pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec)


_READERS: dict[str, Callable[[Any], Any]] = {
    "gzip": lambda stream: gzip.GzipFile(fileobj=stream, mode="rb"),
    "bzip2": _members(bz2.BZ2Decompressor),
    "xz": _members(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ), padding=4),
    "zstd": _arrow("zstd"),
    "lz4": _arrow("lz4"),
}
"""Python's own decompressors, and pyarrow's for what Python has only from 3.14 on (zstd) or never
(lz4)."""

_DAMAGE = (EOFError, OSError, lzma.LZMAError, zlib.error)
"""What they raise where the data is cut short or damaged. Streams raise nothing of the kind."""


class Unpacked:
    """What is in a stream, whatever it is packed with. name: for messages.

    Raises StreamError where the packing is damaged or ends early.
    """

    def __init__(self, stream: Bytes, name: str) -> None:
        self._stream, self._name = stream, name
        first = b""
        while len(first) < BLOCK and (more := stream.read(BLOCK - len(first))):
            first += more
        self._how = packing(first)
        again = io.BufferedReader(_Again(first, stream), _BUFFER)
        if self._how and self._how not in _READERS:
            raise StreamError(
                f"{name}: a {self._how} cannot be read as a stream. Unpack it, and name the files"
            )
        self._inside: Any = _READERS[self._how](again) if self._how else again

    @property
    def whole(self) -> bool:
        """The end of a packing is no proof: what is cut between two of its members or frames ends
        like one that never had a second."""
        return self._stream.whole

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end only."""
        try:
            return cast(bytes, self._inside.read(size))
        except _DAMAGE as error:
            raise StreamError(
                f"{self._name}: its {self._how} data is damaged or ends early ({error}). Fetch or "
                "make the file anew (gzip -t, zstd -t and xz -t tell); the same command goes on "
                "with the archives that are missing"
            ) from None

    def close(self) -> None:
        self._stream.close()
