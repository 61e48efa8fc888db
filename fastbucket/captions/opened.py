"""A shard whose captions are brought up to date: where its samples lie, what theirs are to be."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path

from ..errors import RunError
from ..format import at_larger_bases, shard_path
from ..sources import pread
from ..walked import Walked, sample_starts, walk
from .jobs import Chosen
from .store import Store


class OpenShard:
    """A shard: its walk, and the captions of its samples by key. It is closed when nothing
    refers to it any more."""

    def __init__(
        self,
        out: Path,
        store: Store,
        chosen: Sequence[Chosen],
        bases: Sequence[int],
        name: tuple[str, int],
    ) -> None:
        self.path = out / shard_path(*name)
        self.walked: Walked = walk(self.path)
        self.starts = sample_starts(self.walked)
        self.members: list[list[int]] = self.walked.members.tolist()
        try:
            self.descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be read: {error.strerror}") from None
        weakref.finalize(self, os.close, self.descriptor)
        self.captions: dict[str, tuple[int, str]] = {}  # key -> index into chosen, text
        for at, source in reversed(list(enumerate(chosen))):  # the first of the priority wins
            # The workspace has a sample once, under the largest base that it stands at.
            for bucket_id in (name[0], *at_larger_bases(name[0], bases)):
                found = store.query(_CAPTIONS, (source.source_id, bucket_id, name[1]))
                self.captions.update((key, (at, text)) for key, text in found)

    def read_into(self, views: Sequence[memoryview], at: int) -> None:
        """The bytes from `at` on, into one piece of memory after the other. No mapping: a file that
        is cut short or cannot be read is an error with a name."""
        try:
            done = os.preadv(self.descriptor, views, at)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be read: {error.strerror}") from None
        if done != sum(map(len, views)):  # a network file system may return less
            for view in views:
                view[:] = pread.read(self.descriptor, str(self.path), at, len(view), bytearray())
                at += len(view)


_CAPTIONS = """
SELECT s.key, c.text FROM samples s JOIN captions c ON c.source_id = ? AND c.sample_id = s.id
WHERE s.bucket_id = ? AND s.shard = ? AND c.status = 'ok'
"""
