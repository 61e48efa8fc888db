"""The job of `captions apply`: one shard, with the captions that were chosen for its samples.

Image bytes go from a mapping of the old shard to the new one, as they stand in the tar, padding and
header included; nothing of them is looked at but for the hash. What is made anew of a sample is
three blocks or so behind its image.
"""

from __future__ import annotations

import hashlib
import mmap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from .. import index
from ..errors import RunError
from ..format import STATE, TAR_BLOCK, caption_text, shard_path
from ..progress import Reporter
from ..shard import ShardFile
from ..tar import Headers
from ..walked import Walked, sample_starts, walk
from . import applied
from .applied import NONE, Applied
from .store import Store

FOLDER = "captions"
"""Of the state: the marker, journals, and shards that wait for their bucket."""

_OPEN_SHARDS = 4
"""Shards kept mapped: a repacked one draws on itself and on the bucket's last."""

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


def staged_path(out: Path, bucket_id: str, number: int) -> Path:
    """Where a shard of a repacked bucket waits for the others."""
    return out / STATE / FOLDER / f"{bucket_id}-{number:06d}.tar"


class _Shard:
    """An open shard: its walk, its bytes, and the captions of its samples by key."""

    def __init__(self, out: Path, store: Store, chosen: Sequence[Chosen], name: tuple[str, int]):
        self.path = out / shard_path(*name)
        self.walked: Walked = walk(self.path)
        self.starts = sample_starts(self.walked)
        self.members: list[list[int]] = self.walked.members.tolist()
        with open(self.path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.madvise(mmap.MADV_SEQUENTIAL)
        self.view = memoryview(mapped)
        self.captions: dict[str, tuple[int, str]] = {}  # key -> index into chosen, text
        for at, source in reversed(list(enumerate(chosen))):  # the first of the priority wins
            for key, text in store.query(_CAPTIONS, (source.source_id, *name)):
                self.captions[key] = at, text


_CAPTIONS = """
SELECT s.key, c.text FROM samples s JOIN captions c ON c.source_id = ? AND c.sample_id = s.id
WHERE s.bucket_id = ? AND s.shard = ? AND c.status = 'ok'
"""


class ApplyTask:
    """Brings shards up to date. Called with (Job, report)."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._out = Path(setup["out"])
        self._chosen = [Chosen(*source) for source in setup["chosen"]]
        self._tails = [
            applied.tail(Applied(source.variant, source.rank, source.source_id))
            for source in self._chosen
        ]
        self._none = b"\n", applied.tail(NONE)
        self._headers = Headers(setup["mtime"])
        self._store = Store.open(self._out)
        self._shards: dict[tuple[str, int], _Shard] = {}

    def __call__(self, job: Job, report: Reporter) -> Rewritten:
        own = None if job.pieces is not None else self._open(job.bucket_id, job.number)
        if own is not None and not any(self._differs(own, i) for i in range(len(own.members))):
            sha256 = job.sha256 or _sha256(own.path)
            final = Final(job.number, len(own.members), own.walked.size, sha256)
            changed = False
            samples = [(own, at) for at in range(len(own.members))]
        else:
            pieces = job.pieces or []
            samples = [(self._open(job.bucket_id, shard), at) for shard, at in pieces]
            if own is not None:
                samples = [(own, at) for at in range(len(own.members))]
            path = self._out / shard_path(job.bucket_id, job.number)
            if job.pieces is not None:
                path = staged_path(self._out, job.bucket_id, job.number)
            entries: list[index.Entry] = []
            with ShardFile(path) as shard:
                for source, at in samples:
                    blocks, entry = self._blocks(source, at)
                    shard.add(blocks)
                    entries.append(entry)
                sha256 = shard.commit()
                final = Final(job.number, len(samples), shard.bytes, sha256)
            written = index.Shard(job.bucket_id, job.number, *final[1:])
            index.write_shard(self._out, written, entries)
            changed = True
        counts = Counter(
            self._chosen[source.captions[key][0]].source_id
            for source, at in samples
            if (key := source.walked.keys[at]) in source.captions
        )
        self._shards.pop((job.bucket_id, job.number), None)
        report(len(samples))
        return Rewritten(final, changed, dict(counts))

    def _open(self, bucket_id: str, number: int) -> _Shard:
        """A shard, kept for the next job if that is of the same bucket."""
        name = bucket_id, number
        if name not in self._shards:
            for other in [o for o in self._shards if o[0] != bucket_id]:
                del self._shards[other]
            while len(self._shards) >= _OPEN_SHARDS:
                del self._shards[next(iter(self._shards))]
            self._shards[name] = _Shard(self._out, self._store, self._chosen, name)
        return self._shards[name]

    def _wanted(self, shard: _Shard, at: int) -> tuple[bytes, bytes]:
        """The .txt that a sample is to have, and the end of its JSON."""
        caption = shard.captions.get(shard.walked.keys[at])
        if caption is None:
            return self._none
        return caption_text(caption[1]), self._tails[caption[0]]

    def _differs(self, shard: _Shard, at: int) -> bool:
        text, tail = self._wanted(shard, at)
        _, _, text_at, text_size, json_at, json_size = shard.members[at]
        end = json_at + json_size
        return (
            shard.view[text_at : text_at + text_size] != text
            or shard.view[end - len(tail) : end] != tail
        )

    def _blocks(self, shard: _Shard, at: int) -> tuple[list[bytes], index.Entry]:
        """The tar blocks of a sample: those of its image from the mapping, the rest made anew."""
        text, tail = self._wanted(shard, at)
        key = shard.walked.keys[at]
        _, image, text_at, _, json_at, json_size = shard.members[at]
        where = f"{shard.path}: {key}"
        document = applied.written(bytes(shard.view[json_at : json_at + json_size]), tail, where)
        entry = index.Entry(key, *index.size_of(document, where), (image, len(text), len(document)))
        return [
            cast(bytes, shard.view[shard.starts[at] : text_at - TAR_BLOCK]),
            b"".join(
                (
                    self._headers.header(f"{key}.txt".encode(), len(text)),
                    text,
                    bytes(-len(text) % TAR_BLOCK),
                    self._headers.header(f"{key}.json".encode(), len(document)),
                    document,
                    bytes(-len(document) % TAR_BLOCK),
                )
            ),
        ], entry


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
