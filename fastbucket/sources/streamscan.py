"""The scan of a tar that passes by once: the walk of `tarscan` over one segment after the other.

A segment lies in a scratch file, so that the kernel reads it as it reads any tar and a member of
many gigabytes costs disk and no memory. What a segment ends in, the sample that may go on behind
it, is moved to the front of the next. The samples, their columns and the words about a break are
those of `tarscan`, to the letter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..errors import StreamError
from ..kernels import jpegheader, tarheader, tarwalk, window
from ..kernels.tarheader import GLOBAL_PATH, GLOBAL_PATH_SIZE, POSITION
from ..progress import GOING_ON, At
from . import pread, probe
from .packing import BLOCK, Bytes, is_tar, why_no_tar
from .tarscan import BATCH, BLOB, binaries

SEGMENT = 32 << 20
"""Bytes of a segment: three hundred samples of 100 KiB, so that what is done once a batch is
nothing, and a page cache that does not notice. It doubles where a sample needs more."""

_READ = 1 << 20

_OPEN = {
    tarheader.HEADER_CUT: None,
    tarheader.DATA_CUT: None,
    tarheader.END_UNMARKED: None,
    tarheader.ALONE: BLOCK,
    tarheader.END: tarwalk.PADDING_BLOCKS * BLOCK,
}
"""How a walk may end because its segment does -> bytes behind the place with which that is final;
None: none are enough."""

_PARQUET = b"PAR1"

_EARLY = (
    tarheader.HEADER_CUT,
    tarheader.DATA_CUT,
    tarheader.END_UNMARKED,
    tarheader.ALONE,
)
"""How a tar ends that was cut."""


class Batch(NamedTuple):
    """Samples of a segment. columns: of the catalogue, with offsets in the file `descriptor`, good
    up to the next batch."""

    columns: dict[str, Any]
    descriptor: int


class StreamScan:
    """The samples of a stream, batch by batch; then how it ended, as in a `Catalogue`.

    scratch: descriptor of an empty file to write to. ask_room(bytes): asked before that grows past
    a segment, by so many; raises where they are not there. Raises StreamError where the
    stream is no tar, or ends early without having said how long it is.
    """

    def __init__(
        self,
        name: str,
        stream: Bytes,
        scratch: int,
        at: At,
        ask_room: Callable[[int], None],
    ) -> None:
        self._ask_room = ask_room
        self._name, self._stream, self._scratch, self._at = name, stream, scratch, at
        self._filled = 0  # bytes in the scratch file
        self._base = 0  # byte of the tar at its beginning
        self._ended = False  # the stream
        self._count = 0
        self.broken = ""
        self.extra: dict[str, Any] = {}

    def batches(self) -> Iterator[Batch]:
        """All of them, none without a sample. Raises OSError where the scratch file does."""
        state = np.zeros(tarheader.STATE, np.int64)
        state[[GLOBAL_PATH_SIZE, tarheader.GLOBAL_SIZE]] = -1
        room = SEGMENT
        walk = _Walk(self._scratch, self._name)
        self._fill(room)
        block = os.pread(self._scratch, BLOCK, 0)
        if block.startswith(_PARQUET):
            raise StreamError(
                f"{self._name}: a Parquet file is read from a local disk: download it first"
            )
        if not is_tar(block):
            why = why_no_tar(block).replace("the file", "it")
            raise StreamError(f"{self._name}: not a tar: {why}. See what it is: {block[:40]!r}")
        while True:
            ended, n = walk(state, self._filled, self._final)
            if n:
                yield self._batch(walk, n)
            if ended == tarwalk.FULL:
                continue
            if ended != _STARVED:
                break
            if not self._move(state) and self._filled == room:
                self._ask_room(room)
                room *= 2
            self._fill(room)
        self._end(ended, state)

    def _final(self, ended: int, position: int) -> bool:
        """Whether more bytes could not change how a walk ended."""
        behind = _OPEN.get(ended, 0)
        return self._ended or (behind is not None and self._filled - position >= behind)

    def _fill(self, room: int) -> None:
        while self._filled < room and not self._ended:
            data = self._stream.read(min(_READ, room - self._filled))
            self._ended = not data
            self._write(data, self._filled)
            self._filled += len(data)

    def _write(self, data: bytes, at: int) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self._scratch, data[done:], at + done)

    def _move(self, state: np.ndarray) -> bool:
        """Bring what was not walked over to the front; False: it is there already.

        In front of it comes the path of a pax global header, if there is one: it names members.
        """
        size = max(int(state[GLOBAL_PATH_SIZE]), 0)
        path = os.pread(self._scratch, size, int(state[GLOBAL_PATH])) if size else b""
        start, to = int(state[POSITION]), len(path)
        if start <= to:
            return False
        self._write(path, 0)
        self._base += start - to
        state[GLOBAL_PATH], state[POSITION] = 0, to
        while start < self._filled:
            data = os.pread(self._scratch, min(_READ, self._filled - start), start)
            self._write(data, to)
            start, to = start + len(data), to + len(data)
        self._filled = to
        return True

    def _batch(self, walk: _Walk, n: int) -> Batch:
        rows, heads, keys, suffixes = walk.found(n)
        offsets, into, first = rows[:, tarwalk.IMAGE_OFFSET], bytearray(), self._count

        def fetch(i: int, size: int) -> memoryview:
            return pread.read(self._scratch, self._name, int(offsets[i]), size, into)

        def at(i: int | None) -> None:
            self._at(GOING_ON if i is None or i == GOING_ON else first + i)

        self._count += n
        return Batch(probe.columns(rows, heads, keys, suffixes, fetch, at), self._scratch)

    def _end(self, ended: int, state: np.ndarray) -> None:
        """Note how the tar ended; then the stream has to end as it should, too."""
        end, size = self._base + int(state[POSITION]), self._base + self._filled
        while data := self._stream.read(_READ):
            size += len(data)
        if ended in _EARLY and not self._stream.whole:
            raise StreamError(
                f"{self._name}: ends early, at byte {size}, without the end of a tar; nothing says "
                "how long it should be. See why it was cut; the same command goes on with the "
                "archives that are missing"
            )
        self.extra["members"] = int(state[tarheader.MEMBERS])
        if ended in tarwalk.BREAKS:
            self.broken = f"{tarwalk.BREAKS[ended]}, at byte {end} of {size}"
        if ended == tarheader.END_UNMARKED:
            self.extra["note"] = "no end-of-archive marker: the file may have been cut short"
        if state[tarheader.SPARSE]:
            self.extra["sparse"] = int(state[tarheader.SPARSE])


_STARVED = -1
"""How a walk ends that needs more bytes than there are."""


class _Walk:
    """The kernel with its arrays, over a scratch file."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor, self._name = descriptor, name
        self._window = np.empty(window.ROOM, np.uint8)
        self._rows = np.empty((BATCH, tarwalk.COLUMNS), np.int64)
        self._heads = np.empty((BATCH, jpegheader.FIELDS + 1), np.int64)
        self._keys, self._suffixes = np.empty(BLOB, np.uint8), np.empty(BLOB, np.uint8)
        self._scratch = (
            np.empty(tarheader.NAME_LIMIT, np.uint8),
            np.empty(tarwalk.SAMPLE_MEMBERS, np.uint64),
        )

    def __call__(self, state: np.ndarray, size: int, final: Any) -> tuple[int, int]:
        """(how it ended, samples found). final(ended, position): whether that counts.

        Where it does not, the last sample may go on behind the segment: those before it are found,
        and the state stands before it.
        """
        before = state.copy()
        ended, n = self._walk(state, size, BATCH)
        if ended == tarwalk.FULL or final(ended, int(state[POSITION])):
            return ended, n
        state[:] = before
        if n > 1:
            ended, n = self._walk(state, size, n - 1)
            return tarwalk.FULL, n
        return _STARVED, 0

    def _walk(self, state: np.ndarray, size: int, limit: int) -> tuple[int, int]:
        file = window.opened(self._descriptor, size)
        ended, n = tarwalk.walk(
            file,
            self._window,
            state,
            self._rows[:limit],
            self._heads[:limit],
            self._keys,
            self._suffixes,
            *self._scratch,
        )
        if ended == tarwalk.FAILED:
            at, count = int(file[window.FAULT]), int(file[window.FAULT_SIZE])
            pread.read(self._descriptor, f"{self._name}: scratch file", at, count, bytearray())
            raise StreamError(f"{self._name}: its scratch file cannot be read at byte {at}")
        return int(ended), int(n)

    def found(self, n: int) -> tuple[np.ndarray, np.ndarray, pa.Array, pa.Array]:
        """Rows, headers, keys and suffixes of the n samples found, copied."""
        rows = self._rows[:n].copy()
        return (
            rows,
            self._heads[:n].copy(),
            binaries(self._keys, rows[:, tarwalk.KEY_END]),
            binaries(self._suffixes, rows[:, tarwalk.SUFFIX_END]),
        )
