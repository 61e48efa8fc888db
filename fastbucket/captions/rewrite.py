"""The job of `captions apply`: a shard or two, with the captions chosen for their samples.

Image bytes go from the old shard through a buffer into the new one, as they stand in the tar,
padding and header included; nothing of them is looked at but for the hash. What is made anew of a
sample is three blocks or so behind its image.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RunError
from ..format import TAR_BLOCK, TAR_END, at_larger_bases, caption_text, shard_path
from ..index import Entry, size_of, write_shard
from ..index import Shard as Indexed
from ..progress import Reporter
from ..repack.staging import Staging
from ..shard import ShardFile
from ..sources import pread
from ..tar import Headers
from ..walked import Walked, sample_starts, walk
from . import applied, beside
from .applied import NONE, Applied
from .store import Store

FOLDER = "captions"
"""Of the state: the marker, journals, and shards that wait for their bucket."""

_OPEN_SHARDS = 4
"""Shards kept open: a repacked one draws on itself and on the bucket's last."""

_HASHED_BYTES = 1 << 20


class Final(NamedTuple):
    """A shard as it stands afterwards; that of `fill`, without its imports."""

    number: int
    samples: int
    bytes: int
    sha256: str


class Job(NamedTuple):
    """A shard to be brought up to date.

    sha256: what it is known to have, "" where it has to be read. pieces: (shard, index) of the
    samples in a bucket that is repacked, and then the result is staged; None: as they are.
    """

    bucket_id: str
    number: int
    sha256: str
    pieces: list[tuple[int, int]] | None = None


class Rewritten(NamedTuple):
    """What became of it. counts: caption_source_id -> samples that have their caption of it."""

    final: Final
    changed: bool
    counts: dict[int, int]


class Chosen(NamedTuple):
    """A source in the priority, and its place there (caption_selector_index)."""

    source_id: int
    variant: str
    rank: int


class _Shard:
    """An open shard: its walk, and the captions of its samples by key. It is closed when nothing
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


class _Plan(NamedTuple):
    """What a job comes to. samples: (shard, index within it) of all; changed: or they stand there
    already, in a shard of which `kept` tells."""

    samples: list[tuple[_Shard, int]]
    changed: bool
    kept: Final | None


class ApplyTask:
    """Brings shards up to date. Called with (jobs, report), of one job or of two."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._out = Path(setup["out"])
        self._chosen = [Chosen(*source) for source in setup["chosen"]]
        self._bases: list[int] = setup.get("bases", [])
        self._tails = [
            applied.tail(Applied(source.variant, source.rank, source.source_id))
            for source in self._chosen
        ]
        self._none = b"\n", applied.tail(NONE)
        self._headers = Headers(setup["mtime"])
        self._store = Store.open(self._out)
        self._shards: dict[tuple[str, int], _Shard] = {}

    def __call__(self, jobs: Sequence[Job], report: Reporter) -> list[Rewritten]:
        plans = [self._plan(job) for job in jobs]
        finals = self._write([(job, p) for job, p in zip(jobs, plans, strict=True) if p.changed])
        done = []
        for job, plan in zip(jobs, plans, strict=True):
            counts = Counter(
                self._chosen[source.captions[key][0]].source_id
                for source, index in plan.samples
                if (key := source.walked.keys[index]) in source.captions
            )
            final = plan.kept or finals.pop(0)
            done.append(Rewritten(final, plan.changed, dict(counts)))
            self._shards.pop((job.bucket_id, job.number), None)
            report(len(plan.samples))
        return done

    def _plan(self, job: Job) -> _Plan:
        if job.pieces is not None:
            pieces = [(self._open(job.bucket_id, shard), index) for shard, index in job.pieces]
            return _Plan(pieces, True, None)
        own = self._open(job.bucket_id, job.number)
        samples = [(own, index) for index in range(len(own.members))]
        if any(self._differs(own, index) for _, index in samples):
            return _Plan(samples, True, None)
        sha256 = job.sha256 or _sha256(own.path)
        return _Plan(samples, False, Final(job.number, len(samples), own.walked.size, sha256))

    def _write(self, changed: Sequence[tuple[Job, _Plan]]) -> list[Final]:
        """The new shards, side by side, each then made visible, and its index with it."""
        indexes: list[list[Entry]] = [[] for _ in changed]
        with ExitStack() as stack:
            files = [stack.enter_context(ShardFile(self._place(job))) for job, _ in changed]
            streams = [
                self._pieces(plan.samples, entries)
                for (_, plan), entries in zip(changed, indexes, strict=True)
            ]
            digests = beside.write(files, streams)
            finals = []
            for file, sha256, (job, plan) in zip(files, digests, changed, strict=True):
                file.publish()
                finals.append(Final(job.number, len(plan.samples), file.bytes, sha256))
        for (job, _), final, entries in zip(changed, finals, indexes, strict=True):
            write_shard(self._out, Indexed(job.bucket_id, *final), entries)
        return finals

    def _place(self, job: Job) -> Path:
        if job.pieces is not None:
            return Staging(self._out, FOLDER).shard(job.bucket_id, job.number)
        return self._out / shard_path(job.bucket_id, job.number)

    def _open(self, bucket_id: str, number: int) -> _Shard:
        """A shard, kept for the next job if that is of the same bucket."""
        name = bucket_id, number
        if name not in self._shards:
            for other in [o for o in self._shards if o[0] != bucket_id]:
                del self._shards[other]
            while len(self._shards) >= _OPEN_SHARDS:
                del self._shards[next(iter(self._shards))]
            self._shards[name] = _Shard(self._out, self._store, self._chosen, self._bases, name)
        return self._shards[name]

    def _wanted(self, shard: _Shard, at: int) -> tuple[bytes, bytes]:
        """The .txt that a sample is to have, and the end of its JSON."""
        caption = shard.captions.get(shard.walked.keys[at])
        if caption is None:
            return self._none
        return caption_text(caption[1]), self._tails[caption[0]]

    def _differs(self, shard: _Shard, index: int) -> bool:
        text, tail = self._wanted(shard, index)
        _, _, text_at, text_size, json_at, json_size = shard.members[index]
        old = memoryview(bytearray(json_at + json_size - text_at))
        shard.read_into([old], text_at)
        return old[:text_size] != text or old[-len(tail) :] != tail

    def _pieces(
        self, samples: Sequence[tuple[_Shard, int]], entries: list[Entry]
    ) -> Iterator[memoryview]:
        """The tar of these samples in pieces of beside.PIECE bytes, the last of fewer; `entries`
        gains what its index says of each.

        Every piece lies in the same memory, and is over when the next is asked for. An image is
        read to its place in it, with one call for it and the old members behind it.
        """
        piece, old = memoryview(bytearray(beside.PIECE)), bytearray()
        filled = 0
        for count, (shard, index) in enumerate(samples, 1):
            _, _, text_at, _, json_at, json_size = shard.members[index]
            at, end = shard.starts[index], text_at - TAR_BLOCK  # the image, header and padding
            behind = json_at + json_size - end
            if len(old) < behind:
                old = bytearray(2 * behind)
            document = memoryview(old)[json_at - end : behind]
            while at < end:
                size = min(end - at, len(piece) - filled)
                views = [piece[filled : filled + size]]
                if at + size == end:
                    views.append(memoryview(old)[:behind])
                shard.read_into(views, at)
                at, filled = at + size, filled + size
                if filled == len(piece):
                    yield piece
                    filled = 0
            made = self._made(shard, index, document, entries)
            rest = memoryview(made + TAR_END if count == len(samples) else made)
            while rest:
                size = min(len(rest), len(piece) - filled)
                piece[filled : filled + size] = rest[:size]
                rest, filled = rest[size:], filled + size
                if filled == len(piece):
                    yield piece
                    filled = 0
        if filled:
            yield piece[:filled]

    def _made(self, shard: _Shard, index: int, document: memoryview, entries: list[Entry]) -> bytes:
        """The blocks behind the image of a sample, made anew. document: the JSON as it was."""
        text, tail = self._wanted(shard, index)
        key, image = shard.walked.keys[index], shard.members[index][1]
        where = f"{shard.path}: {key}"
        new = applied.written(bytes(document), tail, where)
        entries.append(Entry(key, *size_of(new, where), (image, len(text), len(new))))
        return b"".join(
            (
                self._headers.header(f"{key}.txt".encode(), len(text)),
                text,
                bytes(-len(text) % TAR_BLOCK),
                self._headers.header(f"{key}.json".encode(), len(new)),
                new,
                bytes(-len(new) % TAR_BLOCK),
            )
        )


def _sha256(path: Path) -> str:
    digest, buffer = hashlib.sha256(), bytearray(_HASHED_BYTES)
    view = memoryview(buffer)
    try:
        with open(path, "rb", buffering=0) as file:
            while size := file.readinto(buffer):
                digest.update(view[:size])
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()
