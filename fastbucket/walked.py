"""Where the members of an exported shard's samples lie, by the scan's own walk over tars."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import RunError
from .format import TAR_BLOCK, TAR_END
from .kernels import jpegheader, tarheader, tarwalk, window

_BATCH = 1024
_KEY_DIGITS = 64
_MEMBER_COLUMNS = (
    tarwalk.IMAGE_OFFSET,
    tarwalk.IMAGE_SIZE,
    tarwalk.TEXT_OFFSET,
    tarwalk.TEXT_SIZE,
    tarwalk.JSON_OFFSET,
    tarwalk.JSON_SIZE,
)


class Walked(NamedTuple):
    """A shard's samples in tar order. keys: 64 hex digits each. members: int64 (n, 6): offset and
    size in bytes of the image, the text and the JSON. A sample begins at its image's header, 512
    bytes before the image, and ends where the next one begins."""

    keys: list[str]
    members: NDArray[np.int64]
    size: int


def walk(path: Path) -> Walked:
    """The samples of a shard. Raises RunError where it is none as this package writes them."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        size = os.fstat(descriptor).st_size
        keys, members, ended = _walk(descriptor, size)
    finally:
        os.close(descriptor)
    if ended != tarheader.END or not _as_written(keys, members, size):
        raise RunError(
            f"{path} is not as it was written (a damaged or foreign tar); "
            "fastbucket verify tells more"
        )
    return Walked(keys, members, size)


def _walk(descriptor: int, size: int) -> tuple[list[str], NDArray[np.int64], int]:
    file = window.opened(descriptor, size)
    state = np.zeros(tarheader.STATE, np.int64)
    state[[tarheader.GLOBAL_PATH_SIZE, tarheader.GLOBAL_SIZE]] = -1
    room = np.empty(window.ROOM, np.uint8)
    rows = np.empty((_BATCH, tarwalk.COLUMNS), np.int64)
    heads = np.empty((_BATCH, jpegheader.FIELDS + 1), np.int64)
    keys = np.empty(16 * tarheader.NAME_LIMIT, np.uint8)
    suffixes = np.empty_like(keys)
    name = np.empty(tarheader.NAME_LIMIT, np.uint8)
    seen = np.empty(tarwalk.SAMPLE_MEMBERS, np.uint64)
    names: list[str] = []
    members: list[NDArray[np.int64]] = [np.empty((0, len(_MEMBER_COLUMNS)), np.int64)]
    ended = tarwalk.FULL
    while ended == tarwalk.FULL:
        ended, n = tarwalk.walk(file, room, state, rows, heads, keys, suffixes, name, seen)
        ends = rows[:n, tarwalk.KEY_END].tolist()
        text = keys[: ends[-1] if n else 0].tobytes().decode("ascii", "replace")
        names += [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        members.append(rows[:n, _MEMBER_COLUMNS])
    return names, np.concatenate(members), int(ended)


def _as_written(keys: list[str], members: NDArray[np.int64], size: int) -> bool:
    """Whether three plain members of every sample, their headers and the end are all there is."""
    if (members < 0).any() or any(len(k) != _KEY_DIGITS or not k.isascii() for k in keys):
        return False
    ends = members[:, 0::2] + members[:, 1::2]
    ends += -ends % TAR_BLOCK
    starts = members[:, 0::2] - TAR_BLOCK
    expected = np.concatenate(([0], ends.ravel()))
    return bool((starts.ravel() == expected[:-1]).all()) and size == expected[-1] + len(TAR_END)


def sample_starts(walked: Walked) -> list[int]:
    """Where each sample begins, and where the last one ends."""
    return [*(walked.members[:, 0] - TAR_BLOCK).tolist(), walked.size - len(TAR_END)]
