"""The job of `captions apply`: a shard or two, with the captions chosen for their samples.

Image bytes go from the old shard through a buffer into the new one, as they stand in the tar,
padding and header included; nothing of them is looked at but for the hash. What is made anew of a
sample is three blocks or so behind its image (`pieces`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RunError
from ..format import caption_text, shard_path
from ..index import Shard as Indexed
from ..index import write_shard
from ..progress import Reporter
from ..repack.staging import Staging
from ..shard import ShardFile
from ..tar import Headers
from . import applied, beside
from .applied import NONE, Applied
from .jobs import FOLDER, Chosen, Final, Job, Rewritten
from .opened import OpenShard
from .pieces import Pieces
from .store import Store

_OPEN_SHARDS = 4
"""Shards kept open: a repacked one draws on itself and on the bucket's last."""

_HASHED_BYTES = 1 << 20


class _Plan(NamedTuple):
    """What a job comes to. samples: (shard, index within it) of all; changed: or they stand there
    already, in a shard of which `kept` tells."""

    samples: list[tuple[OpenShard, int]]
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
        self._tails.append(applied.tail(NONE))
        self._headers = Headers(setup["mtime"])
        self._store = Store.open(self._out)
        self._shards: dict[tuple[str, int], OpenShard] = {}

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
        with ExitStack() as stack:
            files = [stack.enter_context(ShardFile(self._place(job))) for job, _ in changed]
            streams = [self._pieces(plan.samples) for _, plan in changed]
            digests = beside.write(files, [iter(stream) for stream in streams])
            finals = []
            for file, sha256, (job, plan) in zip(files, digests, changed, strict=True):
                file.publish()
                finals.append(Final(job.number, len(plan.samples), file.bytes, sha256))
        for (job, _), final, stream in zip(changed, finals, streams, strict=True):
            write_shard(self._out, Indexed(job.bucket_id, *final), stream.entries)
        return finals

    def _place(self, job: Job) -> Path:
        if job.pieces is not None:
            return Staging(self._out, FOLDER).shard(job.bucket_id, job.number)
        return self._out / shard_path(job.bucket_id, job.number)

    def _open(self, bucket_id: str, number: int) -> OpenShard:
        """A shard, kept for the next job if that is of the same bucket."""
        name = bucket_id, number
        if name not in self._shards:
            for other in [o for o in self._shards if o[0] != bucket_id]:
                del self._shards[other]
            while len(self._shards) >= _OPEN_SHARDS:
                del self._shards[next(iter(self._shards))]
            self._shards[name] = OpenShard(self._out, self._store, self._chosen, self._bases, name)
        return self._shards[name]

    def _wanted(self, shard: OpenShard, at: int) -> tuple[bytes, int]:
        """The .txt that a sample is to have, and which of the tails the end of its JSON."""
        caption = shard.captions.get(shard.walked.keys[at])
        if caption is None:
            return b"\n", len(self._chosen)
        return caption_text(caption[1]), caption[0]

    def _differs(self, shard: OpenShard, index: int) -> bool:
        text, which = self._wanted(shard, index)
        tail = self._tails[which]
        _, _, text_at, text_size, json_at, json_size = shard.members[index]
        old = memoryview(bytearray(json_at + json_size - text_at))
        shard.read_into([old], text_at)
        return old[:text_size] != text or old[-len(tail) :] != tail

    def _pieces(self, samples: Sequence[tuple[OpenShard, int]]) -> Pieces:
        wanted = [self._wanted(shard, index) for shard, index in samples]
        texts = [text for text, _ in wanted]
        return Pieces(samples, texts, [which for _, which in wanted], self._tails, self._headers)


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
