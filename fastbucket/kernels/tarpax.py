"""The records of a pax extended header, read through the window, one after the other.

Source: POSIX.1-2008 pax; as strict as the tarfile of Python 3.13.

tarwalk compiles these functions into its own kernel, and numba's cache looks at the text of one
file only: after a change here, remove __pycache__.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .tarblock import starts
from .window import need

NAME_LIMIT = 65536
"""Bytes of a member name; far above PATH_MAX, so a longer one is damage."""

DIGITS_LIMIT = 20
"""Digits of a record's length, as in tarfile."""

DONE, DAMAGED, FAILED = 0, 1, 2

_PATH = np.frombuffer(b"path", np.uint8)
_SIZE = np.frombuffer(b"size", np.uint8)
_SPARSE = np.frombuffer(b"GNU.sparse.", np.uint8)


@njit(nogil=True)
def _digits(data: np.ndarray, start: int, end: int) -> int:
    """The decimal number data[start:end]; -1 where it is none or above 2^60."""
    value = np.int64(0 if end > start else -1)
    for i in range(start, end):
        if not 48 <= data[i] <= 57 or value >= 1 << 56:
            return -1
        value = 10 * value + np.int64(data[i] - 48)
    return int(value)


@njit(nogil=True)
def _find(file: np.ndarray, window: np.ndarray, start: int, end: int, byte: int) -> int:
    """Where in bytes start to end - 1 of the file `byte` stands first; end: nowhere, -1: failed."""
    while start < end:
        part = min(end - start, 1024)
        o = need(file, window, start, part)
        if o < 0:
            return -1
        for i in range(o, o + part):
            if window[i] == byte:
                return int(start + i - o)
        start += part
    return end


@njit(nogil=True)
def pax(file: np.ndarray, window: np.ndarray, start: int, end: int, found: np.ndarray) -> int:
    """Reads the records `<length> <keyword>=<value>\\n` in bytes start to end - 1 of the file.

    found: int64 (4,): offset and size of the path, the size, 1 for a sparse member; what is not
    there is left as it is. DONE, DAMAGED, or FAILED to read.
    """
    at = start
    while at < end:
        head = min(end - at, DIGITS_LIMIT + 1)
        o = need(file, window, at, head)
        if o < 0:
            return FAILED
        if window[o] == 0:
            break
        blank = o
        while blank < o + head and window[blank] != 32:
            blank += 1
        length = _digits(window, o, blank) if blank - o <= DIGITS_LIMIT else np.int64(-1)
        if length < 5 or length > end - at or blank - o > length - 4:
            return DAMAGED
        last = at + length - 1
        keyword = at + blank - o + 1
        equals = _find(file, window, keyword, last, 61)
        o = need(file, window, last, 1) if equals >= 0 else -1
        if o < 0:
            return FAILED
        if window[o] != 10 or equals == last or equals == keyword:  # noqa: SIM109 - for numba
            return DAMAGED
        width, value = equals - keyword, equals + 1
        o = need(file, window, keyword, min(width, 12))
        if o < 0:
            return FAILED
        if width == 4 and starts(window, o, _PATH):
            size = last - value
            if size <= NAME_LIMIT:  # else it is too long anyhow
                o = need(file, window, value, size)
                if o < 0:
                    return FAILED
                while size > 0 and window[o + size - 1] == 47:
                    size -= 1
            found[0], found[1] = value, size
        elif width == 4 and starts(window, o, _SIZE):
            size = last - value
            if size > NAME_LIMIT:  # zeros, for the most part; room for them has to end somewhere
                return DAMAGED
            o = need(file, window, value, size)
            if o < 0:
                return FAILED
            found[2] = _digits(window, o, o + size)
            if found[2] < 0:
                return DAMAGED
        elif width > 11 and starts(window, o, _SPARSE):
            found[3] = 1
        at += length
    return DONE
