"""Reading at an offset, into memory that is used again.

Deliberately no mapping: a source that is cut short or fails while we work must be an error with a
name, and under a mapping it would be a SIGBUS.
"""

from __future__ import annotations

import os

from ..errors import RunError


def read(descriptor: int, name: str, offset: int, size: int, into: bytearray) -> memoryview:
    """`size` bytes at `offset` of an open file, in `into`. Raises RunError, naming `name`."""
    if offset < 0:  # preadv would take that for "where the file stands"
        raise RunError(f"{name}: there is no byte {offset}; scan the source anew")
    view = room(into, size)
    done = 0
    try:
        while done < size:
            # One call moves 2 GiB at most, and a network file system may return less.
            step = os.preadv(descriptor, [view[done:]], offset + done)
            if step == 0:
                break
            done += step
    except OSError as error:
        raise RunError(f"{name}: cannot be read: {error.strerror}") from error
    if done < size:
        raise RunError(
            f"{name}: {done} of {size} bytes at byte {offset}: the file has become shorter since "
            "the scan. Restore it, or scan it anew."
        )
    return view


def room(into: bytearray, size: int) -> memoryview:
    """The first `size` bytes of `into`, which grows where it has to."""
    if len(into) < size:
        try:
            into.extend(bytes(size + size // 4 - len(into)))
        except BufferError:
            # Somebody, an image of libvips for one, still holds a view, and memory does not grow
            # under a view: this once, new memory.
            return memoryview(bytearray(size))
    return memoryview(into)[:size]
