"""The new tar of a shard in pieces that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from ..errors import RunError
from ..format import TAR_BLOCK, TAR_END
from ..index import Entry, size_of
from ..kernels import recaption
from ..tar import Headers
from . import applied, beside
from .opened import OpenShard

_TRIES = 10
"""Of a read that fails in the kernel and not in Python."""

Sample = tuple[OpenShard, int]
"""An open shard, and the index of a sample in it."""


class Pieces:
    """The tar of samples, each with its new text and JSON. Iterated once; then `entries` is what
    the index says of each.

    texts: the .txt of each sample. tails: the possible ends of a JSON, and `chosen`: which of them
    each sample gets. Every piece lies in the same memory, and is over when the next is asked for.
    All are of beside.PIECE bytes but the last. Raises RunError where an old shard cannot be read.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        texts: Sequence[bytes],
        chosen: Sequence[int],
        tails: Sequence[bytes],
        headers: Headers,
    ) -> None:
        self._samples, self._texts, self._headers = samples, texts, headers
        self._chosen, self._tails = chosen, tails
        self.entries: list[Entry] = []
        self._keys = [shard.walked.keys[index] for shard, index in samples]

    def __iter__(self) -> Iterator[memoryview]:
        members = np.array(
            [(*shard.members[index], shard.starts[index]) for shard, index in self._samples],
            np.int64,
        ).reshape(-1, recaption.MEMBERS)
        entries = np.zeros((len(members), recaption.ENTRY), np.int64)
        room = max(map(len, self._texts), default=0) + max(map(len, self._tails))
        room += int(members[:, recaption.JSON_SIZE].max(initial=0)) + 4 * TAR_BLOCK
        made, memory = np.empty(room, np.uint8), bytearray(beside.PIECE)
        piece, whole = np.frombuffer(memory, np.uint8), memoryview(memory)
        state = np.zeros(recaption.STATE, np.int64)
        template, total = self._headers.template
        given = (
            np.array([shard.descriptor for shard, _ in self._samples], np.int64),
            members,
            np.frombuffer("".join(self._keys).encode(), np.uint8),
            np.frombuffer(b"".join(self._texts), np.uint8),
            _ends(self._texts),
            np.array(self._chosen, np.int64),
            np.frombuffer(b"".join(self._tails), np.uint8),
            _ends(self._tails),
            np.frombuffer(template, np.uint8),
            total,
        )
        outcome, failed = recaption.FULL, 0
        while outcome != recaption.END:
            outcome = recaption.fill(*given, made, piece, state, entries)
            at = int(state[recaption.SAMPLE])
            if outcome == recaption.FULL:
                yield whole
                state[recaption.FILLED] = 0
            elif outcome == recaption.ODD:
                blocks, entries[at] = self._made(at)
                if len(blocks) > len(made):
                    made = np.empty(len(blocks), np.uint8)
                made[: len(blocks)] = np.frombuffer(blocks, np.uint8)
                state[recaption.MADE] = len(blocks)
            elif outcome == recaption.FAILED:
                self._check_readable(at)
                if (failed := failed + 1) > _TRIES:
                    path = self._samples[at][0].path
                    raise RunError(f"{path}: cannot be read, {failed} times in a row")
                continue
            failed = 0
        self.entries = [
            Entry(key, width, height, (image, text, document))
            for key, (image, text, document, width, height) in zip(
                self._keys, entries.tolist(), strict=True
            )
        ]
        filled, rest = int(state[recaption.FILLED]), len(TAR_END)
        while rest:
            size = min(rest, len(memory) - filled)
            piece[filled : filled + size] = 0
            rest, filled = rest - size, filled + size
            if filled == len(memory) or not rest:
                yield whole[:filled]
                filled = 0

    def _made(self, at: int) -> tuple[bytes, tuple[int, ...]]:
        """What stands behind the image of a sample whose JSON is not as it is written, and its row
        of `entries`. Raises RunError for what is no JSON of ours."""
        shard, index = self._samples[at]
        _, image, _, _, json_at, json_size = shard.members[index]
        document = bytearray(json_size)
        shard.read_into([memoryview(document)], json_at)
        key, text, where = self._keys[at], self._texts[at], f"{shard.path}: {self._keys[at]}"
        new = applied.written(bytes(document), self._tails[self._chosen[at]], where)
        if max(pixels := size_of(new, where)) >= 1 << 31:
            raise RunError(f"{where}: its JSON is damaged (an image of {pixels[0]}x{pixels[1]})")
        blocks = b"".join(
            (*self._headers.member(key, "txt", text), *self._headers.member(key, "json", new))
        )
        return blocks, (image, len(text), len(new), *pixels)

    def _check_readable(self, at: int) -> None:
        """Raises RunError with the reason where a sample cannot be read. A signal may have ended
        the kernel's read, which Python would have begun again."""
        shard, index = self._samples[at]
        start = shard.starts[index]
        _, _, _, _, json_at, json_size = shard.members[index]
        shard.read_into([memoryview(bytearray(json_at + json_size - start))], start)


def _ends(pieces: Sequence[bytes]) -> np.ndarray:
    """Where each piece begins if they stand one behind the other, and where the last one ends."""
    return np.array([0, *accumulate(map(len, pieces))], np.int64)
