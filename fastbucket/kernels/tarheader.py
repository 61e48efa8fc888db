"""The next regular member of a tar, read in place: header block, extended headers, name, size.

Sources: POSIX.1-2008 pax (ustar and extended headers), GNU tar's tar.h (long names, base-256 sizes)
and Python's tarfile, which is the measure of what is accepted.

tarwalk compiles these functions into its own kernel, and numba's cache looks at the time of one
file only: after a change here, touch tarwalk.py.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 512
NAME_LIMIT = 65536
"""Bytes of a member name; far above PATH_MAX, so a longer one is damage."""

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

_ZERO, _GOOD, _BAD = 0, 1, 2
_PATH = np.frombuffer(b"path", np.uint8)
_SIZE = np.frombuffer(b"size", np.uint8)
_SPARSE = np.frombuffer(b"GNU.sparse.", np.uint8)
_USTAR = np.frombuffer(b"ustar\0", np.uint8)  # old GNU tars have a blank there, and no prefix


@njit(nogil=True, cache=True)
def _starts(data: np.ndarray, at: int, text: np.ndarray) -> bool:
    for i in range(len(text)):  # noqa: SIM110 - numba has no all() of a generator
        if data[at + i] != text[i]:
            return False
    return True


@njit(nogil=True, cache=True)
def _length(data: np.ndarray, at: int, limit: int) -> int:
    """Bytes before the first NUL of the field data[at:at + limit]."""
    for i in range(limit):
        if data[at + i] == 0:
            return i
    return limit


@njit(nogil=True, cache=True)
def _number(data: np.ndarray, at: int, width: int) -> int:
    """An octal or base-256 field; -1 for one that is damaged, negative or above 2^62."""
    value = np.int64(0)
    if data[at] == 0x80:
        for i in range(1, width):
            if value >= 1 << 54:
                return -1
            value = value << 8 | np.int64(data[at + i])
        return int(value)
    end = at + _length(data, at, width)
    while at < end and (data[at] == 32 or 9 <= data[at] <= 13):
        at += 1
    while end > at and (data[end - 1] == 32 or 9 <= data[end - 1] <= 13):
        end -= 1
    for i in range(at, end):
        if not 48 <= data[i] <= 55:
            return -1
        value = value << 3 | np.int64(data[i] - 48)
    return int(value)


@njit(nogil=True, cache=True)
def block_state(data: np.ndarray, at: int) -> int:
    """Whether data[at:at + 512] is all zero (0), a header with a right checksum (1) or bad (2).

    The sum counts its own field as blanks, and bytes as unsigned; old tars summed them signed.
    """
    block = data[at : at + 512]
    total = np.int64(0)
    for i in range(512):  # LLVM makes vectors of this loop: 20 ns
        total += block[i]
    if total == 0:
        return _ZERO
    total += 8 * 32
    for i in range(148, 156):
        total -= block[i]
    stored = _number(block, 148, 8)
    if stored == total:
        return _GOOD
    for i in range(512):
        if block[i] >= 128 and not 148 <= i < 156:
            total -= 256
    return _GOOD if stored == total else _BAD


@njit(nogil=True, cache=True)
def _digits(data: np.ndarray, start: int, end: int) -> int:
    """The decimal number data[start:end]; -1 where it is none or above 2^60."""
    value = np.int64(0 if end > start else -1)
    for i in range(start, end):
        if not 48 <= data[i] <= 57 or value >= 1 << 56:
            return -1
        value = 10 * value + np.int64(data[i] - 48)
    return int(value)


@njit(nogil=True, cache=True)
def _pax(data: np.ndarray, start: int, end: int, found: np.ndarray) -> bool:
    """Reads the records `<length> <keyword>=<value>\\n` of data[start:end]; False: damaged.

    found: int64 (4,): offset and size of the path, the size, 1 for a sparse member; what is not
    there is left as it is. As strict as the tarfile of Python 3.13.
    """
    at = start
    while at < end and data[at] != 0:
        blank = at
        while blank < end and data[blank] != 32:
            blank += 1
        length = _digits(data, at, blank)
        if length < 5 or length > end - at or blank - at > length - 4:
            return False
        last = at + length - 1
        keyword = blank + 1
        equals = keyword
        while equals < last and data[equals] != 61:
            equals += 1
        if data[last] != 10 or equals == last or equals == keyword:  # noqa: SIM109 - for numba
            return False
        width = equals - keyword
        value = equals + 1
        if width == 4 and _starts(data, keyword, _PATH):
            found[0] = value
            end_of_path = last
            while end_of_path > value and data[end_of_path - 1] == 47:
                end_of_path -= 1
            found[1] = end_of_path - value
        elif width == 4 and _starts(data, keyword, _SIZE):
            found[2] = _digits(data, value, last)
            if found[2] < 0:
                return False
        elif width > 11 and _starts(data, keyword, _SPARSE):
            found[3] = 1
        at += length
    return True


@njit(nogil=True, cache=True)
def _copy(data: np.ndarray, start: int, size: int, name: np.ndarray, to: int) -> None:
    for i in range(size):
        name[to + i] = data[start + i]


@njit(nogil=True, cache=True)
def _extended(
    data: np.ndarray, kind: int, body: int, size: int, state: np.ndarray, found: np.ndarray
) -> int:
    """Takes in the extended header `kind` with data[body:body + size]; FOUND or a break."""
    if kind == 76:  # L, GNU long name
        length = _length(data, body, min(size, NAME_LIMIT))
        if length == NAME_LIMIT and size > NAME_LIMIT:
            return LONG_NAME
        if found[1] < 0:  # of several names the first counts, as in tarfile
            found[0], found[1] = body, length
    elif kind != 75:  # K is the name of a link, and links are passed over
        path, path_size, length, sparse = found[0], found[1], found[2], found[3]
        if not _pax(data, body, body + size, found):
            return BAD_PAX
        if kind == 103:  # g, for all members that follow
            if found[1] != path_size or found[0] != path:
                state[GLOBAL_PATH], state[GLOBAL_PATH_SIZE] = found[0], found[1]
            if found[2] != length:
                state[GLOBAL_SIZE] = found[2]
            found[2], found[3] = length, sparse
        if kind == 103 or path_size >= 0:
            found[0], found[1] = path, path_size
    return FOUND


@njit(nogil=True, cache=True)
def next_member(
    data: np.ndarray, state: np.ndarray, found: np.ndarray, member: np.ndarray, name: np.ndarray
) -> int:
    """Steps to the next regular member behind state[POSITION]; FOUND, or how the tar ended.

    Folders, links, devices and sparse members are passed over. data: uint8 (n,); state: int64
    (STATE,); found: int64 (4,), scratch; member: int64 (MEMBER,), the result; name: uint8 (at least
    NAME_LIMIT,), its name. Every step moves on by a block or more.
    """
    n = len(data)
    at = begin = state[POSITION]
    found[0], found[1], found[2], found[3] = 0, -1, -1, 0
    extended = False
    while True:
        state[POSITION] = min(at, n)
        if at + BLOCK > n:
            return HEADER_CUT if at < n else (ALONE if extended else END_UNMARKED)
        block = block_state(data, at)
        if block != _GOOD:
            return CHECKSUM if block == _BAD else (ALONE if extended else END)
        kind = data[at + 156]
        size = _number(data, at + 124, 12)
        if size < 0:
            return BAD_SIZE
        body = at + BLOCK
        if kind == 76 or kind == 75 or kind == 120 or kind == 88 or kind == 103:  # L K x X g
            if size > n - body:
                return DATA_CUT
            ended: int = _extended(data, kind, body, size, state, found)
            if ended != FOUND:
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
            last = _length(data, at, 100) - 1
            folder = last >= 0 and data[at + last] == 47
        regular = (kind == 48 or kind == 0 or kind == 55) and not folder
        if folder or 49 <= kind <= 54:  # links, devices, folders and pipes have no data
            size = np.int64(0)
        if kind == 83 and data[at + 482] != 0:  # S, GNU sparse: blocks of map follow the header
            while body + BLOCK <= n:
                body += BLOCK
                if data[body - 8] == 0:
                    break
        if size > n - body:
            return DATA_CUT
        if kind == 83 or (regular and found[3]):
            state[SPARSE] += 1
        elif regular:
            if found[1] < 0 and state[GLOBAL_PATH_SIZE] >= 0:
                found[0], found[1] = state[GLOBAL_PATH], state[GLOBAL_PATH_SIZE]
            if found[1] > NAME_LIMIT:
                return LONG_NAME
            if found[1] >= 0:
                length = found[1]
                _copy(data, found[0], length, name, 0)
            else:
                length = np.int64(0)
                if data[at + 345] != 0 and _starts(data, at + 257, _USTAR):
                    length = _length(data, at + 345, 155)
                    _copy(data, at + 345, length, name, 0)
                    name[length] = 47
                    length += 1
                rest = _length(data, at, 100)
                _copy(data, at, rest, name, length)
                length += rest
            member[BEGIN], member[BODY], member[SIZE] = begin, body, size
            member[NAME_SIZE] = length
            state[MEMBERS] += 1
            state[POSITION] = body + (size + BLOCK - 1) // BLOCK * BLOCK
            return FOUND
        at = begin = body + (size + BLOCK - 1) // BLOCK * BLOCK
        found[0], found[1], found[2], found[3] = 0, -1, -1, 0
        extended = False
