"""The next regular member of a tar, read through a window: headers, name, place and size.

Sources: POSIX.1-2008 pax (ustar and extended headers), GNU tar's tar.h (long names, base-256 sizes)
and Python's tarfile, which is the measure of what is accepted.

tarwalk compiles these functions into its own kernel, and numba's cache looks at the text of one
file only: after a change here, remove __pycache__.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .tarblock import BAD, BLOCK, GOOD, block_state, length_of, number, starts
from .tarpax import DAMAGED, DONE, pax
from .tarpax import NAME_LIMIT as NAME_LIMIT
from .window import SIZE as FILE_SIZE
from .window import need

# What is kept between two members, int64.
POSITION = 0  # first byte of the next header; after the end, the byte at which it ended
GLOBAL_PATH = 1  # of a pax global header: offset and size of its path, size -1: none
GLOBAL_PATH_SIZE = 2
GLOBAL_SIZE = 3  # -1: none
MEMBERS = 4  # regular members seen
SPARSE = 5  # members that were passed over because they are sparse
STATE = 6

# A member, int64.
BEGIN = 0  # first byte of its first header, extended ones included
BODY = 1  # first byte of its data
SIZE = 2
NAME_SIZE = 3
MEMBER = 4

# What came of it.
FOUND = 0
END = 1
END_UNMARKED = 2  # at a block boundary, without an end-of-archive marker
MORE = 3  # a header stands behind the end-of-archive marker
HEADER_CUT = 4
DATA_CUT = 5
CHECKSUM = 6
BAD_SIZE = 7
LONG_NAME = 8
BAD_PAX = 9
ALONE = 10
FAILED = 12  # to read, at FAULT of the window; state[POSITION] is the member's first header

BREAKS = {
    MORE: "headers stand behind the end-of-archive marker (another archive?), and are not read",
    HEADER_CUT: "the file ends within a header",
    DATA_CUT: "the file ends within a member's data",
    CHECKSUM: "a header has a wrong checksum",
    BAD_SIZE: "a header has an impossible size",
    LONG_NAME: f"a member's name is longer than {NAME_LIMIT} bytes",
    BAD_PAX: "a pax header is damaged",
    ALONE: "an extended header has no member",
}
"""Why a walk broke off at state[POSITION]."""

_USTAR = np.frombuffer(b"ustar\0", np.uint8)  # old GNU tars have a blank there, and no prefix


@njit(nogil=True, forceinline=True)
def _copy(data: np.ndarray, start: int, size: int, name: np.ndarray, to: int) -> None:
    for i in range(size):
        name[to + i] = data[start + i]


@njit(nogil=True)
def _extended(
    file: np.ndarray,
    window: np.ndarray,
    kind: int,
    body: int,
    size: int,
    state: np.ndarray,
    found: np.ndarray,
) -> int:
    """Takes in the extended header `kind`, `size` bytes at `body`; FOUND, FAILED or a break."""
    if kind == 76:  # L, GNU long name
        limit = min(size, NAME_LIMIT)
        o = need(file, window, body, limit)
        if o < 0:
            return FAILED
        length = length_of(window, o, limit)
        if length == NAME_LIMIT and size > NAME_LIMIT:
            return LONG_NAME
        if found[1] < 0:  # of several names the first counts, as in tarfile
            found[0], found[1] = body, length
    elif kind != 75:  # K is the name of a link, and links are passed over
        path, path_size, length, sparse = found[0], found[1], found[2], found[3]
        done = pax(file, window, body, body + size, found)
        if done != DONE:
            return BAD_PAX if done == DAMAGED else FAILED
        if kind == 103:  # g, for all members that follow
            if found[1] != path_size or found[0] != path:
                state[GLOBAL_PATH], state[GLOBAL_PATH_SIZE] = found[0], found[1]
            if found[2] != length:
                state[GLOBAL_SIZE] = found[2]
            found[2], found[3] = length, sparse
        if kind == 103 or path_size >= 0:
            found[0], found[1] = path, path_size
    return FOUND


@njit(nogil=True)
def _sparse_map(file: np.ndarray, window: np.ndarray, body: int) -> int:
    """First byte behind the blocks of map that follow an old GNU sparse header; -1: failed."""
    while body + BLOCK <= file[FILE_SIZE]:
        o = need(file, window, body, BLOCK)
        if o < 0:
            return -1
        body += BLOCK
        if window[o + BLOCK - 8] == 0:
            break
    return body


@njit(nogil=True, forceinline=True)
def _plain_name(data: np.ndarray, at: int, name: np.ndarray) -> int:
    """Copies the name that stands in the header block data[at:at + 512]; its size."""
    length = np.int64(0)
    if data[at + 345] != 0 and starts(data, at + 257, _USTAR):
        length = length_of(data, at + 345, 155)
        _copy(data, at + 345, length, name, 0)
        name[length] = 47
        length += 1
    for i in range(at, at + 100):
        if data[i] == 0:
            break
        name[length] = data[i]
        length += 1
    return int(length)


@njit(nogil=True, forceinline=True)
def next_member(
    file: np.ndarray,
    window: np.ndarray,
    state: np.ndarray,
    found: np.ndarray,
    member: np.ndarray,
    name: np.ndarray,
) -> int:
    """Steps to the next regular member behind state[POSITION]; FOUND, or how the tar ended.

    Folders, links, devices and sparse members are passed over. file, window: see window.need;
    state: int64 (STATE,); found: int64 (4,), scratch; member: int64 (MEMBER,), the result; name:
    uint8 (at least NAME_LIMIT,), its name. Every step moves on by a block or more.
    """
    n = file[FILE_SIZE]
    at = begin = state[POSITION]
    found[0], found[1], found[2], found[3] = 0, -1, -1, 0
    extended = False
    while True:
        state[POSITION] = min(at, n)
        if at + BLOCK > n:
            return HEADER_CUT if at < n else (ALONE if extended else END_UNMARKED)
        o = need(file, window, at, BLOCK)
        if o < 0:
            state[POSITION] = begin
            return FAILED
        judged = block_state(window, o)  # o is good up to the next need
        if judged != GOOD:
            return CHECKSUM if judged == BAD else (ALONE if extended else END)
        kind = window[o + 156]
        size = number(window, o + 124, 12)
        if size < 0:
            return BAD_SIZE
        body = at + BLOCK
        if kind == 76 or kind == 75 or kind == 120 or kind == 88 or kind == 103:  # L K x X g
            if size > n - body:
                return DATA_CUT
            ended: int = _extended(file, window, kind, body, size, state, found)
            if ended != FOUND:
                if ended == FAILED:
                    state[POSITION] = begin
                return ended
            extended = extended or kind != 103
            at = body + (size + BLOCK - 1) // BLOCK * BLOCK
            continue

        if found[2] < 0:
            found[2] = state[GLOBAL_SIZE]
        if found[2] >= 0:
            size = found[2]
        folder = False
        if kind == 0:  # in an old (v7) tar a folder is a file with a slash behind its name
            last = length_of(window, o, 100) - 1
            folder = last >= 0 and window[o + last] == 47
        regular = (kind == 48 or kind == 0 or kind == 55) and not folder
        if folder or 49 <= kind <= 54:  # links, devices, folders and pipes have no data
            size = np.int64(0)
        if kind == 83 and window[o + 482] != 0:  # S, GNU sparse: blocks of map follow the header
            body = _sparse_map(file, window, body)
            if body < 0:
                state[POSITION] = begin
                return FAILED
        if size > n - body:
            return DATA_CUT
        if kind == 83 or (regular and found[3]):
            state[SPARSE] += 1
        elif regular:
            if found[1] < 0 and state[GLOBAL_PATH_SIZE] >= 0:
                found[0], found[1] = state[GLOBAL_PATH], state[GLOBAL_PATH_SIZE]
            length = found[1]
            if length > NAME_LIMIT:
                return LONG_NAME
            if length >= 0:
                o = need(file, window, found[0], length)
                if o < 0:
                    state[POSITION] = begin
                    return FAILED
                _copy(window, o, length, name, 0)
            else:
                length = _plain_name(window, o, name)
            member[BEGIN], member[BODY], member[SIZE] = begin, body, size
            member[NAME_SIZE] = length
            state[MEMBERS] += 1
            state[POSITION] = body + (size + BLOCK - 1) // BLOCK * BLOCK
            return FOUND
        at = begin = body + (size + BLOCK - 1) // BLOCK * BLOCK
        found[0], found[1], found[2], found[3] = 0, -1, -1, 0
        extended = False
