"""Memory that is used again for one sample after another."""

from __future__ import annotations

import os


class Buffer:
    """Grows to the largest request it has met.

    A larger request gets new memory instead of more of the old: views of the old stay valid, where
    a bytearray would refuse to grow under them.
    """

    def __init__(self) -> None:
        self._memory = bytearray()

    def take(self, size: int) -> memoryview:
        """A writable view of `size` bytes; what was in them before is undefined."""
        if len(self._memory) < size:
            self._memory = bytearray(size + size // 4)
        return memoryview(self._memory)[:size]


def fill(descriptor: int, offset: int, view: memoryview) -> int:
    """Reads at `offset` until the view is full or the file ends; the bytes read. Raises OSError."""
    done = 0
    while done < len(view):
        # One call moves 2 GiB at most, and a network file system may return less.
        step = os.preadv(descriptor, [view[done:]], offset + done)
        if step == 0:
            break
        done += step
    return done
