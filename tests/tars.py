"""Tars made by hand and by the standard library, and the walk over them, for the tests.

Run as a program it walks hostile bytes; test_tarwalk does so under NUMBA_BOUNDSCHECK=1.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastbucket.kernels import jpegheader, tarheader, tarwalk, window

JPEG = bytes.fromhex(
    "ffd8ffe000104a46494600010200000100010000ffc0001108001e00280301220002110103110 1"
    "ffda000c03010002000300003f00".replace(" ", "")
)
"""The head of a plain 40x30 JPEG."""

PNG = b"\x89PNG\r\n\x1a\n" + bytes(25)


class Walked(NamedTuple):
    ended: int
    at: int
    samples: list[dict[str, Any]]
    members: int
    sparse: int
    calls: int
    read: int


def walk(data: bytes, capacity: int = 64, wall: int = 0) -> Walked:
    """All samples of a tar in memory, by calls of `capacity` samples each.

    wall: what the window is full of before the first byte is read, and must not matter.
    """
    descriptor = os.memfd_create("tar")
    try:
        os.write(descriptor, data)
        return _walk(descriptor, data, capacity, wall)
    finally:
        os.close(descriptor)


def arrays(capacity: int, wall: int = 0) -> tuple[np.ndarray, ...]:
    """The arrays of tarwalk.walk behind the first."""
    state = np.zeros(tarheader.STATE, np.int64)
    state[[tarheader.GLOBAL_PATH_SIZE, tarheader.GLOBAL_SIZE]] = -1
    return (
        np.full(window.ROOM, wall, np.uint8),
        state,
        np.empty((capacity, tarwalk.COLUMNS), np.int64),
        np.empty((capacity, jpegheader.FIELDS + 1), np.int64),
        np.empty(tarheader.NAME_LIMIT + 10, np.uint8),
        np.empty(tarheader.NAME_LIMIT + 10, np.uint8),
        np.empty(tarheader.NAME_LIMIT, np.uint8),
        np.empty(tarwalk.SAMPLE_MEMBERS, np.uint64),
    )


def _walk(descriptor: int, data: bytes, capacity: int, wall: int) -> Walked:
    file = window.opened(descriptor, len(data))
    _, state, rows, heads, keys, suffixes, *_ = walking = arrays(capacity, wall)
    samples: list[dict[str, Any]] = []
    ended = tarwalk.FULL
    while ended == tarwalk.FULL:
        ended, n = tarwalk.walk(file, *walking)
        key_start = suffix_start = 0
        for row, head in zip(rows[:n].tolist(), heads[:n].tolist(), strict=True):
            sample: dict[str, Any] = {
                "key": keys[key_start : row[tarwalk.KEY_END]].tobytes(),
                "suffix": suffixes[suffix_start : row[tarwalk.SUFFIX_END]].tobytes(),
                "rank": row[tarwalk.RANK],
                "head": head,
            }
            key_start, suffix_start = row[tarwalk.KEY_END], row[tarwalk.SUFFIX_END]
            for part, column in (
                ("image", tarwalk.IMAGE_OFFSET),
                ("txt", tarwalk.TEXT_OFFSET),
                ("json", tarwalk.JSON_OFFSET),
                ("cls", tarwalk.CLASS_OFFSET),
            ):
                offset, size = row[column], row[column + 1]
                sample[part] = None if size < 0 else data[offset : offset + size]
                sample[part + "_at"] = offset
                if size >= 0:
                    assert 512 <= offset <= len(data) - size
            samples.append(sample)
    return Walked(
        ended,
        int(state[tarheader.POSITION]),
        samples,
        int(state[tarheader.MEMBERS]),
        int(state[tarheader.SPARSE]),
        int(file[window.CALLS]),
        int(file[window.BYTES]),
    )


def tar(
    members: dict[str, bytes] | list[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT
) -> bytes:
    """A tar of regular files, in order, with the standard library's end and padding."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for name, data in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def header(
    name: bytes,
    size: int | bytes = 0,
    kind: bytes = b"0",
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    signed: bool = False,
    rest: bytes = b"",
) -> bytes:
    """One header block; size as raw bytes where it is to be odd."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    block = (
        name.ljust(100, b"\0")
        + b"0000644\0" * 3
        + field.ljust(12, b"\0")
        + b"00000000000\0"
        + b" " * 8
        + kind
        + bytes(100)
        + magic.ljust(8, b"\0")
        + bytes(80)
        + prefix.ljust(155, b"\0")
    ).ljust(512, b"\0")
    if rest:
        block = block[: 512 - len(rest)] + rest
    total = sum(block)
    if signed:
        total -= 256 * sum(byte >= 128 for byte in block)
    return block[:148] + b"%06o\0 " % (total & 0o777777) + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes, data: bytes, **fields: Any) -> bytes:
    return header(name, len(data), **fields) + padded(data)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    body = b""
    for keyword, value in records:
        size = len(keyword) + len(value) + 3
        length = size + len(str(size))
        length = size + len(str(length))
        body += b"%d %b=%b\n" % (length, keyword, value)
    return member(b"PaxHeaders/x", body, kind=kind)


END = bytes(1024)


def hostile(seed: int) -> bytes:
    """A valid tar with damage: flipped bytes, cut short, or blocks in another order."""
    rng = np.random.default_rng(seed)
    whole = (
        pax((b"path", b"deep/" * 30 + b"a.jpg"), (b"size", b"%d" % len(JPEG)))
        + member(b"short", JPEG)
        + member(b"a.txt", b"words")
        + member(b"././@LongLink", b"long/" * 40 + b"b.jpg\0", kind=b"L")
        + member(b"cut", JPEG, magic=b"ustar  \0")
        + header(b"c.jpg", b"\x80" + (len(JPEG)).to_bytes(11, "big"))
        + padded(JPEG)
        + header(b"sparse.jpg", 512, kind=b"S", rest=b"\1" + bytes(29))
        + bytes(1024)
        + member(b"d.png", PNG, prefix=b"below")
        + END
    )
    data = bytearray(whole)
    kind = seed % 4
    if kind == 0:
        for at in rng.integers(0, len(data), 8):
            data[at] = rng.integers(0, 256)
    elif kind == 1:
        del data[int(rng.integers(0, len(data))) :]
    elif kind == 2:  # damage inside of headers, with the checksum put right
        for at in range(0, len(data) - 512, 512):
            block = data[at : at + 512]
            if block[257:262] == b"ustar":
                where = int(rng.choice([*range(124, 136), 156, *range(345, 350), 482, *range(4)]))
                block[where] = rng.integers(0, 256)
                block[148:156] = b" " * 8
                block[148:156] = b"%06o\0 " % sum(block)
                data[at : at + 512] = block
    else:
        blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
        data = bytearray(b"".join(blocks[i] for i in rng.permutation(len(blocks))))
    return bytes(data)


@njit
def _outside(data):
    return data[len(data)]


def main() -> None:
    try:
        _outside(np.zeros(1, np.uint8))
        raise SystemExit("NUMBA_BOUNDSCHECK is not set: this would prove nothing")
    except IndexError:
        pass
    folders = [Path(name) for name in sys.argv[1:]]
    paths = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in paths:
        data = path.read_bytes()
        if data:
            walk(data, 3)
            head = np.empty(jpegheader.FIELDS, np.int64)
            jpegheader.jpeg_header(np.frombuffer(data, np.uint8), 0, len(data), head)
    for seed in range(1500):
        data = hostile(seed)
        if data:
            walk(data, 2)
    rng = np.random.default_rng(1)
    head = np.empty(jpegheader.FIELDS, np.int64)
    for _ in range(3000):
        data = bytearray(JPEG[: int(rng.integers(0, len(JPEG) + 1))])
        for at in rng.integers(0, max(len(data), 1), 4):
            if data:
                data[at] = rng.integers(0, 256)
        jpegheader.jpeg_header(np.frombuffer(data, np.uint8), 0, len(data), head)
    sys.stdout.write(f"{len(paths)} files\n")


if __name__ == "__main__":
    main()
